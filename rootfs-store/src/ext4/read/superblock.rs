//! The superblock, read.

use super::ReadError;
use super::fields::{split_u64_at, u16_at, u32_at};
use crate::ext4::checksum::crc;
use crate::ext4::geometry::has_copy;

/// Where the superblock is on the disk.
pub(super) const OFFSET: u64 = 1024;
pub(super) const BYTES: usize = 1024;
/// Logarithms of the block sizes, less 10, that a kernel with pages of 4 KiB mounts.
const BLOCK_SIZES: std::ops::RangeInclusive<u32> = 0..=2;
/// Bytes of an inode that every revision has.
pub(super) const MIN_INODE_BYTES: u16 = 128;
/// Bytes of a group's descriptor without the upper halves of its fields.
const SHORT_DESCRIPTOR_BYTES: u16 = 32;
const LONG_DESCRIPTOR_BYTES: u16 = 64;

mod incompatible {
    pub(super) const RECOVER: u32 = 0x4;
    pub(super) const META_BG: u32 = 0x10;
    pub(super) const BIT64: u32 = 0x80;
    pub(super) const CHECKSUM_SEED: u32 = 0x2000;
    pub(super) const LARGE_DIRECTORY: u32 = 0x4000;
    /// Those above; types in directory entries, extents, protection against two mounts, flexible groups, and values of
    /// attributes in inodes.
    pub(super) const KNOWN: u32 = RECOVER
        | META_BG
        | BIT64
        | CHECKSUM_SEED
        | LARGE_DIRECTORY
        | 0x2
        | 0x40
        | 0x100
        | 0x200
        | 0x400;
    /// The others by name.
    pub(super) const FOREIGN: [(u32, &str); 5] = [
        (0x1, "compression"),
        (0x8, "a disk for its journal alone"),
        (0x8000, "inline data"),
        (0x1_0000, "encryption"),
        (0x2_0000, "names without case"),
    ];
}

mod read_only {
    pub(super) const SPARSE_SUPER: u32 = 0x1;
    pub(super) const CLUSTERS: u32 = 0x200;
    pub(super) const METADATA_CSUM: u32 = 0x400;
}

/// What a file system says about itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Superblock {
    pub(super) block_bytes: u32,
    /// Blocks of the file system, all of which are on the disk.
    pub(super) blocks: u64,
    pub(super) inodes: u32,
    pub(super) inodes_per_group: u32,
    pub(super) inode_bytes: u16,
    pub(super) descriptor_bytes: u16,
    /// What checksums start from, if metadata have them.
    pub(super) checksum_seed: Option<u32>,
    /// Whether it was not unmounted, so that the journal counts.
    pub(super) needs_recovery: bool,
    pub(super) journal_ino: u32,
    /// Whether directories may have more than 32 bits of size.
    pub(super) large_directories: bool,
    first_block: u64,
    blocks_per_group: u32,
    /// The first block of descriptors that lies with the groups that it describes.
    first_meta_block: Option<u32>,
    sparse_copies: bool,
}

impl Superblock {
    /// Reads what is on a disk of so many bytes.
    pub(super) fn parse(bytes: &[u8; BYTES], disk_bytes: u64) -> Result<Self, ReadError> {
        const MAGIC: u16 = 0xef53;
        let wrong = |what| ReadError::Superblock { what };
        if u16_at(bytes, 0x38) != MAGIC {
            return Err(ReadError::NoFileSystem);
        }
        let features = Features::parse(bytes)?;
        let log_block = u32_at(bytes, 0x18);
        if !BLOCK_SIZES.contains(&log_block) {
            return Err(ReadError::Unsupported {
                feature: "blocks that are not of 1, 2 or 4 KiB",
            });
        }
        let block_bytes = 1024 << log_block;
        let superblock = Self {
            block_bytes,
            blocks: features.blocks(bytes),
            inodes: u32_at(bytes, 0x00),
            inodes_per_group: u32_at(bytes, 0x28),
            inode_bytes: u16_at(bytes, 0x58),
            descriptor_bytes: features.descriptor_bytes(bytes),
            checksum_seed: features.checksum_seed(bytes)?,
            needs_recovery: features.incompatible & incompatible::RECOVER != 0,
            journal_ino: u32_at(bytes, 0xe0),
            large_directories: features.incompatible & incompatible::LARGE_DIRECTORY != 0,
            first_block: u64::from(u32_at(bytes, 0x14)),
            blocks_per_group: u32_at(bytes, 0x20),
            first_meta_block: (features.incompatible & incompatible::META_BG != 0)
                .then(|| u32_at(bytes, 0x104)),
            sparse_copies: features.read_only & read_only::SPARSE_SUPER != 0,
        };
        superblock.check(disk_bytes).map_err(wrong)?;
        Ok(superblock)
    }

    /// Fails with what is out of bounds.
    fn check(&self, disk_bytes: u64) -> Result<(), &'static str> {
        let block = self.block_bytes;
        let check = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
        let size = self.blocks.checked_mul(u64::from(block));
        check(
            size.is_some_and(|size| size <= disk_bytes),
            "number of blocks",
        )?;
        check(self.first_block == u64::from(block == 1024), "first block")?;
        check(self.blocks > self.first_block, "number of blocks")?;
        let in_group = 1..=8 * block;
        check(
            in_group.contains(&self.blocks_per_group),
            "size of block groups",
        )?;
        check(
            in_group.contains(&self.inodes_per_group),
            "number of inodes in a group",
        )?;
        let inode = self.inode_bytes;
        let fits = inode >= MIN_INODE_BYTES && u32::from(inode) <= block;
        check(fits && inode.is_power_of_two(), "size of inodes")?;
        let descriptor = self.descriptor_bytes;
        let fits = u32::from(descriptor) <= block && descriptor.is_power_of_two();
        check(
            fits && descriptor >= SHORT_DESCRIPTOR_BYTES,
            "size of group descriptors",
        )?;
        let groups = (self.blocks - self.first_block).div_ceil(u64::from(self.blocks_per_group));
        let inodes = groups * u64::from(self.inodes_per_group);
        check(u64::from(self.inodes) <= inodes, "number of inodes")
    }

    /// Whether descriptors have the upper halves of their fields.
    pub(super) fn has_long_descriptors(&self) -> bool {
        self.descriptor_bytes >= LONG_DESCRIPTOR_BYTES
    }

    /// Where the descriptor of a group is on the disk, in bytes.
    pub(super) fn descriptor_offset(&self, group: u32) -> u64 {
        let per_block = self.block_bytes / u32::from(self.descriptor_bytes);
        let (number, slot) = (group / per_block, group % per_block);
        let block = match self.first_meta_block {
            Some(first) if number >= first => self.meta_block(number * per_block),
            _ => self.first_block + 1 + u64::from(number),
        };
        block * u64::from(self.block_bytes) + u64::from(slot) * u64::from(self.descriptor_bytes)
    }

    /// The block of descriptors that lies in `group`, behind its copy of the superblock if it has one.
    fn meta_block(&self, group: u32) -> u64 {
        let start = self.first_block + u64::from(group) * u64::from(self.blocks_per_group);
        let copy = !self.sparse_copies || has_copy(group);
        start + u64::from(copy)
    }
}

struct Features {
    incompatible: u32,
    read_only: u32,
}

impl Features {
    fn parse(bytes: &[u8; BYTES]) -> Result<Self, ReadError> {
        let features = Self {
            incompatible: u32_at(bytes, 0x60),
            read_only: u32_at(bytes, 0x64),
        };
        let unsupported = |feature| Err(ReadError::Unsupported { feature });
        if u32_at(bytes, 0x4c) == 0 {
            return unsupported("the format of Linux 0.x");
        }
        let foreign = features.incompatible & !incompatible::KNOWN;
        if foreign != 0 {
            let named = incompatible::FOREIGN
                .iter()
                .find(|(bit, _)| foreign & bit != 0);
            return unsupported(named.map_or("a feature of a newer version", |(_, name)| name));
        }
        if features.read_only & read_only::CLUSTERS != 0 {
            return unsupported("clusters of blocks");
        }
        Ok(features)
    }

    fn blocks(&self, bytes: &[u8; BYTES]) -> u64 {
        match self.incompatible & incompatible::BIT64 {
            0 => u64::from(u32_at(bytes, 0x04)),
            _ => split_u64_at(bytes, 0x04, 0x150),
        }
    }

    fn descriptor_bytes(&self, bytes: &[u8; BYTES]) -> u16 {
        match self.incompatible & incompatible::BIT64 {
            0 => SHORT_DESCRIPTOR_BYTES,
            _ => u16_at(bytes, 0xfe),
        }
    }

    /// Verifies the superblock's own checksum, too.
    fn checksum_seed(&self, bytes: &[u8; BYTES]) -> Result<Option<u32>, ReadError> {
        const CHECKSUM: usize = 0x3fc;
        const CRC32C: u8 = 1;
        if self.read_only & read_only::METADATA_CSUM == 0 {
            return Ok(None);
        }
        if bytes[0x175] != CRC32C {
            return Err(ReadError::Unsupported {
                feature: "checksums that are no CRC-32C",
            });
        }
        if crc(u32::MAX, &bytes[..CHECKSUM]) != u32_at(bytes, CHECKSUM) {
            return Err(ReadError::Superblock { what: "checksum" });
        }
        let seed = match self.incompatible & incompatible::CHECKSUM_SEED {
            0 => crc(u32::MAX, &bytes[0x68..0x78]),
            _ => u32_at(bytes, 0x270),
        };
        Ok(Some(seed))
    }
}
