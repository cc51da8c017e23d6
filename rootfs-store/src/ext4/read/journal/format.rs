//! Blocks of a journal (Linux: `include/linux/jbd2.h`). Numbers are big-endian.

use super::damaged;
use crate::ext4::checksum::crc;
use crate::ext4::read::ReadError;
use crate::ext4::read::fields::{be_u16_at, be_u32_at, be_u64_at};

/// How each block of a journal begins, but for those that it keeps for the file system.
pub(in super::super) const MAGIC: u32 = 0xc03b_3998;
const HEADER_BYTES: usize = 12;
const SUPERBLOCK_BYTES: usize = 1024;
/// Bytes of the checksum at the end of a block.
const TAIL_BYTES: usize = 4;
const UUID_BYTES: usize = 16;

mod incompatible {
    pub(super) const BIT64: u32 = 0x2;
    pub(super) const CHECKSUM_V2: u32 = 0x8;
    pub(super) const CHECKSUM_V3: u32 = 0x10;
    pub(super) const FAST_COMMIT: u32 = 0x20;
    /// Those above but fast commits; revocations; commits that don't wait.
    pub(super) const KNOWN: u32 = 0x1 | BIT64 | 0x4 | CHECKSUM_V2 | CHECKSUM_V3;
}

mod flag {
    pub(super) const ESCAPED: u32 = 1;
    pub(super) const SAME_UUID: u32 = 2;
    pub(super) const LAST: u32 = 8;
}

/// What a block of a journal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Descriptor,
    Commit,
    Revocation,
}

/// How blocks have checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checksums {
    None,
    V2,
    V3,
}

/// A block of the file system in a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    /// Its number on the disk.
    pub(super) block: u64,
    pub(super) escaped: bool,
    checksum: u32,
}

/// What the superblock of a journal says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log {
    /// Blocks of the journal.
    pub(super) blocks: u32,
    /// The first block that may belong to a transaction.
    pub(super) first: u32,
    /// Where the oldest transaction that counts starts.
    pub(super) start: u32,
    /// Its number.
    pub(super) sequence: u32,
    checksums: Checksums,
    long_numbers: bool,
    seed: u32,
}

impl Log {
    /// Reads the first block of a journal; nothing if there is nothing to replay.
    pub(super) fn parse(block: &[u8], block_bytes: u32) -> Result<Option<Self>, ReadError> {
        const VERSION_1: u32 = 3;
        const VERSION_2: u32 = 4;
        const CHECKSUM: usize = 0xfc;
        let version = be_u32_at(block, 4);
        let known = version == VERSION_1 || version == VERSION_2;
        if be_u32_at(block, 0) != MAGIC || !known || be_u32_at(block, 0x0c) != block_bytes {
            return Err(damaged(0, "header"));
        }
        let features = match version {
            VERSION_2 => be_u32_at(block, 0x28),
            _ => 0,
        };
        if features & incompatible::FAST_COMMIT != 0 {
            return Err(ReadError::Unsupported {
                feature: "a journal with fast commits",
            });
        }
        if features & !incompatible::KNOWN != 0 {
            return Err(ReadError::Unsupported {
                feature: "a journal of a newer version",
            });
        }
        let checksums = match features {
            _ if features & incompatible::CHECKSUM_V3 != 0 => Checksums::V3,
            _ if features & incompatible::CHECKSUM_V2 != 0 => Checksums::V2,
            _ => Checksums::None,
        };
        if checksums != Checksums::None {
            let sum = without(
                &block[..SUPERBLOCK_BYTES.min(block.len())],
                CHECKSUM,
                u32::MAX,
            );
            if sum != be_u32_at(block, CHECKSUM) {
                return Err(damaged(0, "checksum"));
            }
        }
        let log = Self {
            blocks: be_u32_at(block, 0x10),
            first: be_u32_at(block, 0x14),
            start: be_u32_at(block, 0x1c),
            sequence: be_u32_at(block, 0x18),
            checksums,
            long_numbers: features & incompatible::BIT64 != 0,
            seed: crc(u32::MAX, block.get(0x30..0x30 + UUID_BYTES).unwrap_or(&[])),
        };
        if log.start == 0 {
            return Ok(None);
        }
        let inside = log.first..log.blocks;
        match log.first > 0 && inside.contains(&log.start) {
            true => Ok(Some(log)),
            false => Err(damaged(0, "start")),
        }
    }

    /// What a block is, if it belongs to the transaction with this number.
    pub(super) fn kind(&self, block: &[u8], sequence: u32) -> Option<Kind> {
        if be_u32_at(block, 0) != MAGIC || be_u32_at(block, 8) != sequence {
            return None;
        }
        match be_u32_at(block, 4) {
            1 => Some(Kind::Descriptor),
            2 => Some(Kind::Commit),
            5 => Some(Kind::Revocation),
            _ => None,
        }
    }

    /// Whether the checksum at the end of a block is right.
    pub(super) fn tail_is_right(&self, block: &[u8]) -> bool {
        let tail = block.len() - TAIL_BYTES;
        self.checksums == Checksums::None
            || without(block, tail, self.seed) == be_u32_at(block, tail)
    }

    /// Whether the checksum of the block that ends a transaction is right.
    pub(super) fn commit_is_right(&self, block: &[u8]) -> bool {
        const CHECKSUM: usize = 0x10;
        self.checksums == Checksums::None
            || without(block, CHECKSUM, self.seed) == be_u32_at(block, CHECKSUM)
    }

    /// When a transaction ended, in seconds.
    pub(super) fn commit_time(block: &[u8]) -> u64 {
        be_u64_at(block, 0x30)
    }

    /// Whether a block that the journal keeps for the file system has the checksum that its tag says.
    pub(super) fn data_is_right(&self, block: &[u8], tag: &Tag, sequence: u32) -> bool {
        let sum = crc(crc(self.seed, &sequence.to_be_bytes()), block);
        match self.checksums {
            Checksums::None => true,
            Checksums::V2 => sum & 0xffff == tag.checksum,
            Checksums::V3 => sum == tag.checksum,
        }
    }

    /// The blocks that follow a descriptor; the last one is nothing if the list doesn't end.
    pub(super) fn tags<'a>(&self, block: &'a [u8]) -> Tags<'a> {
        let tail = match self.checksums {
            Checksums::None => 0,
            _ => TAIL_BYTES,
        };
        Tags {
            log: *self,
            list: &block[HEADER_BYTES..block.len() - tail],
            ended: false,
        }
    }

    /// The blocks whose earlier versions don't count; nothing if the list is damaged.
    pub(super) fn revoked(&self, block: &[u8]) -> Option<Vec<u64>> {
        const START: usize = HEADER_BYTES + 4;
        let end = usize::try_from(be_u32_at(block, HEADER_BYTES)).ok()?;
        let list = block.get(START..end)?;
        let numbers = match self.long_numbers {
            true => list.chunks_exact(8).map(|n| be_u64_at(n, 0)).collect(),
            false => list
                .chunks_exact(4)
                .map(|n| u64::from(be_u32_at(n, 0)))
                .collect(),
        };
        Some(numbers)
    }

    fn tag_bytes(&self) -> usize {
        let high = if self.long_numbers { 4 } else { 0 };
        match self.checksums {
            Checksums::None => 8 + high,
            Checksums::V2 => 10 + high,
            Checksums::V3 => 16,
        }
    }

    fn tag(&self, bytes: &[u8]) -> (Tag, u32) {
        let (flags, checksum) = match self.checksums {
            Checksums::V3 => (be_u32_at(bytes, 4), be_u32_at(bytes, 12)),
            _ => (
                u32::from(be_u16_at(bytes, 6)),
                u32::from(be_u16_at(bytes, 4)),
            ),
        };
        let high = if self.long_numbers {
            be_u32_at(bytes, 8)
        } else {
            0
        };
        let tag = Tag {
            block: u64::from(be_u32_at(bytes, 0)) | u64::from(high) << 32,
            escaped: flags & flag::ESCAPED != 0,
            checksum,
        };
        (tag, flags)
    }
}

/// The list in a descriptor.
pub(super) struct Tags<'a> {
    log: Log,
    list: &'a [u8],
    ended: bool,
}

impl Iterator for Tags<'_> {
    type Item = Option<Tag>;

    fn next(&mut self) -> Option<Option<Tag>> {
        if self.ended {
            return None;
        }
        // As Linux, which takes the end of the block for the end of the list.
        let (bytes, rest) = self.list.split_at_checked(self.log.tag_bytes())?;
        let (tag, flags) = self.log.tag(bytes);
        self.ended = flags & flag::LAST != 0;
        let skip = if flags & flag::SAME_UUID == 0 {
            UUID_BYTES
        } else {
            0
        };
        self.list = rest.get(skip..).unwrap_or(&[]);
        let cut = skip > rest.len() && !self.ended;
        self.ended |= cut;
        Some((!cut).then_some(tag))
    }
}

/// The checksum of bytes whose four at `field` count as zeros.
fn without(bytes: &[u8], field: usize, seed: u32) -> u32 {
    let sum = crc(seed, &bytes[..field]);
    let sum = crc(sum, &[0; 4]);
    crc(sum, &bytes[field + 4..])
}
