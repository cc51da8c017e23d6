//! Inodes, read.

use std::collections::HashMap;

use super::disk::Disk;
use super::fields::{split_u32_at, split_u48_at, split_u64_at, u16_at, u32_at};
use super::superblock::{MIN_INODE_BYTES, Superblock};
use super::{ReadAt, ReadError};
use crate::ext4::checksum::crc;
use crate::ext4::format::{flag, mode};
use crate::tree::{Device, Time};

const BODY: usize = 0x28;
const BODY_BYTES: usize = 60;
const CHECKSUM_LOW: usize = 0x7c;
const CHECKSUM_HIGH: usize = 0x82;
/// Types of files in the upper bits of a mode.
const TYPE: u16 = 0xf000;
pub(super) const SOCKET: u16 = 0xc000;

/// What an inode says.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub(super) ino: u32,
    /// Type and permissions.
    mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) links: u16,
    pub(super) size: u64,
    pub(super) flags: u32,
    /// Says where the blocks are, or which device it is, or holds a short link's target.
    pub(super) body: [u8; BODY_BYTES],
    pub(super) xattr_block: u64,
    pub(super) mtime: Time,
    /// The bytes behind the fields, where extended attributes may be.
    pub(super) rest: Vec<u8>,
    /// What the checksums of its blocks start from, if they have them.
    pub(super) checksum_seed: Option<u32>,
}

impl Inode {
    /// Type of file, one of [`mode`].
    pub(super) fn kind(&self) -> u16 {
        self.mode & TYPE
    }

    pub(super) fn permissions(&self) -> u16 {
        self.mode & !TYPE
    }

    pub(super) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// The error that something of this inode is wrong.
    pub(super) fn damaged(&self, what: &'static str) -> ReadError {
        ReadError::Inode {
            ino: self.ino,
            what,
        }
    }

    /// The number of the device that it stands for.
    pub(super) fn device(&self) -> Device {
        let (short, long) = (u32_at(&self.body, 0), u32_at(&self.body, 4));
        if short != 0 {
            return Device {
                major: short >> 8 & 0xff,
                minor: short & 0xff,
            };
        }
        Device {
            major: long >> 8 & 0xfff,
            minor: long & 0xff | long >> 12 & 0xf_ff00,
        }
    }

    fn parse(bytes: &[u8], ino: u32, superblock: &Superblock) -> Self {
        let extra = Extra::of(bytes);
        let kind = u16_at(bytes, 0) & TYPE;
        let long = kind != mode::DIRECTORY || superblock.large_directories;
        let size = match long {
            true => split_u64_at(bytes, 0x04, 0x6c),
            false => u64::from(u32_at(bytes, 0x04)),
        };
        let mut body = [0; BODY_BYTES];
        body.copy_from_slice(&bytes[BODY..BODY + BODY_BYTES]);
        let seed = superblock.checksum_seed.map(|seed| {
            let seed = crc(seed, &ino.to_le_bytes());
            crc(seed, &bytes[0x64..0x68])
        });
        Self {
            ino,
            mode: u16_at(bytes, 0x00),
            uid: split_u32_at(bytes, 0x02, 0x78),
            gid: split_u32_at(bytes, 0x18, 0x7a),
            links: u16_at(bytes, 0x1a),
            size,
            flags: u32_at(bytes, 0x20),
            body,
            xattr_block: split_u48_at(bytes, 0x68, 0x76),
            mtime: time(u32_at(bytes, 0x10), extra.u32_at(0x88)),
            rest: bytes.get(extra.end..).unwrap_or(&[]).to_vec(),
            checksum_seed: seed,
        }
    }
}

/// The fields beyond the first 128 bytes, of which an inode may have some only.
struct Extra<'a> {
    bytes: &'a [u8],
    end: usize,
}

impl<'a> Extra<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let base = usize::from(MIN_INODE_BYTES);
        let end = match bytes.len() > base {
            true => base + usize::from(u16_at(bytes, base)),
            false => base,
        };
        Self { bytes, end }
    }

    fn u32_at(&self, at: usize) -> u32 {
        match at + 4 <= self.end {
            true => u32_at(self.bytes, at),
            false => 0,
        }
    }
}

/// Seconds as 32 bits with sign, and a word with two more bits and the nanoseconds.
fn time(seconds: u32, extra: u32) -> Time {
    const LAST_NANO: u32 = 999_999_999;
    Time {
        seconds: i64::from(seconds.cast_signed()) + (i64::from(extra & 3) << 32),
        // Linux doesn't object to more.
        nanos: (extra >> 2).min(LAST_NANO),
    }
}

/// Finds inodes by number.
pub(super) struct Inodes<'a, R> {
    disk: &'a Disk<R>,
    superblock: &'a Superblock,
    /// The first blocks of the inode tables of groups.
    tables: HashMap<u32, u64>,
}

impl<'a, R: ReadAt> Inodes<'a, R> {
    pub(super) fn new(disk: &'a Disk<R>, superblock: &'a Superblock) -> Self {
        Self {
            disk,
            superblock,
            tables: HashMap::new(),
        }
    }

    /// Reads and verifies an inode, which must be in use.
    pub(super) fn read(&mut self, ino: u32) -> Result<Inode, ReadError> {
        let damaged = |what| ReadError::Inode { ino, what };
        let superblock = self.superblock;
        if ino == 0 || ino > superblock.inodes {
            return Err(damaged("number"));
        }
        let per_group = superblock.inodes_per_group;
        let (group, slot) = ((ino - 1) / per_group, (ino - 1) % per_group);
        let inode_bytes = u64::from(superblock.inode_bytes);
        let offset =
            self.table(group)? * u64::from(superblock.block_bytes) + u64::from(slot) * inode_bytes;
        let mut bytes = vec![0; usize::from(superblock.inode_bytes)];
        self.disk.read(offset, &mut bytes)?;
        let extra = Extra::of(&bytes).end;
        if extra > bytes.len() || !extra.is_multiple_of(4) {
            return Err(damaged("length"));
        }
        let inode = Inode::parse(&bytes, ino, superblock);
        if let Some(seed) = inode.checksum_seed
            && !checksum_is_right(&mut bytes, extra, seed)
        {
            return Err(damaged("checksum"));
        }
        if inode.links == 0 || inode.kind() == 0 {
            return Err(damaged("link count"));
        }
        if inode.has(flag::INLINE_DATA) || inode.has(flag::ENCRYPTED) {
            return Err(ReadError::UnsupportedInode {
                ino,
                what: "inline data or encryption",
            });
        }
        Ok(inode)
    }

    /// The first block of a group's inode table.
    fn table(&mut self, group: u32) -> Result<u64, ReadError> {
        if let Some(table) = self.tables.get(&group) {
            return Ok(*table);
        }
        let superblock = self.superblock;
        let mut bytes = vec![0; usize::from(superblock.descriptor_bytes)];
        self.disk
            .read(superblock.descriptor_offset(group), &mut bytes)?;
        let damaged = |what| ReadError::Group { group, what };
        let table = match superblock.has_long_descriptors() {
            true => split_u64_at(&bytes, 0x08, 0x28),
            false => u64::from(u32_at(&bytes, 0x08)),
        };
        if let Some(seed) = superblock.checksum_seed {
            const CHECKSUM: usize = 0x1e;
            let expected = u32::from(u16_at(&bytes, CHECKSUM));
            bytes[CHECKSUM..CHECKSUM + 2].fill(0);
            let sum = crc(crc(seed, &group.to_le_bytes()), &bytes);
            if sum & 0xffff != expected {
                return Err(damaged("checksum"));
            }
        }
        let bytes = u64::from(superblock.inodes_per_group) * u64::from(superblock.inode_bytes);
        let blocks = bytes.div_ceil(u64::from(superblock.block_bytes));
        if table == 0 || !self.disk.has_blocks(table, blocks) {
            return Err(damaged("inode table"));
        }
        self.tables.insert(group, table);
        Ok(table)
    }
}

/// Whether an inode's checksum is right, the fields of which become zeros.
fn checksum_is_right(bytes: &mut [u8], extra_end: usize, seed: u32) -> bool {
    let mut expected = u32::from(u16_at(bytes, CHECKSUM_LOW));
    bytes[CHECKSUM_LOW..CHECKSUM_LOW + 2].fill(0);
    let mut mask = 0xffff;
    if extra_end >= CHECKSUM_HIGH + 2 {
        expected |= u32::from(u16_at(bytes, CHECKSUM_HIGH)) << 16;
        bytes[CHECKSUM_HIGH..CHECKSUM_HIGH + 2].fill(0);
        mask = u32::MAX;
    }
    crc(seed, bytes) & mask == expected
}
