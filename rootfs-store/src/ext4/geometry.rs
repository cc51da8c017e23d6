//! How a disk is divided into groups.
//!
//! Invariant: the numbers depend on the disk's size and on how many inodes there are, and on nothing else.

use super::error::LayoutError;
use super::format::{
    BLOCK, BLOCKS_PER_GROUP, DESCRIPTORS_PER_BLOCK, INODES_PER_BLOCK, MAX_INODES_PER_GROUP, low_u32,
};

/// Largest disk: block numbers stay within 32 bits, as the resize inode needs.
pub(super) const MAX_DISK_BYTES: u64 = 1 << 44;
/// Smallest disk: half of it is the smallest journal that Linux takes.
pub(super) const MIN_DISK_BYTES: u64 = 8 << 20;
/// Bytes of disk for each inode, unless the files need more of them; mke2fs's default.
const BYTES_PER_INODE: u64 = 16 << 10;
/// Fewest blocks of a last group; a shorter rest of the disk is not used. More than a copy of the superblock takes
/// with the descriptors of the largest disk and the room that is kept for more: 1 + 2048 + 127.
pub(super) const MIN_GROUP_BLOCKS: u64 = 2304;
/// Most descriptor blocks that room is kept for; each describes 8 GiB, so a disk can grow to 1 TiB and more.
const MAX_RESERVED_DESCRIPTOR_BLOCKS: u64 = 127;

/// The division of one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Blocks of the file system; at most the disk's.
    pub(super) blocks: u64,
    pub(super) groups: u32,
    pub(super) inodes_per_group: u32,
    /// Blocks of group descriptors in each copy.
    pub(super) descriptor_blocks: u32,
    /// Blocks behind each copy that are kept for more descriptors.
    pub(super) reserved_descriptor_blocks: u32,
    pub(super) journal_blocks: u32,
    pub(super) chunk_blocks: u64,
}

impl Geometry {
    /// Divides `disk_bytes` so that `inodes` inodes, the reserved ones included, fit.
    ///
    /// Nothing if there are too few groups for that many.
    pub(super) fn new(
        disk_bytes: u64,
        inodes: u32,
        chunk_bytes: u32,
    ) -> Result<Option<Self>, LayoutError> {
        let chunk_blocks = chunk_blocks(chunk_bytes)?;
        if disk_bytes > MAX_DISK_BYTES {
            let limit = MAX_DISK_BYTES;
            return Err(LayoutError::DiskTooLarge { disk_bytes, limit });
        }
        if disk_bytes < MIN_DISK_BYTES {
            return Ok(None);
        }
        let blocks = usable_blocks(disk_bytes / BLOCK);
        let groups = low_u32(blocks.div_ceil(BLOCKS_PER_GROUP));
        let by_size = low_u32((blocks * BLOCK / BYTES_PER_INODE).div_ceil(u64::from(groups)));
        let needed = inodes.div_ceil(groups);
        if needed > MAX_INODES_PER_GROUP {
            return Ok(None);
        }
        // A disk of many small files has inodes left for more of them.
        let inodes_per_group = by_size
            .max(needed + by_size / 2)
            .min(MAX_INODES_PER_GROUP)
            .next_multiple_of(INODES_PER_BLOCK);
        Ok(Some(Self {
            blocks,
            groups,
            inodes_per_group,
            descriptor_blocks: groups.div_ceil(DESCRIPTORS_PER_BLOCK),
            reserved_descriptor_blocks: low_u32((blocks / 64).min(MAX_RESERVED_DESCRIPTOR_BLOCKS)),
            journal_blocks: journal_blocks(blocks),
            chunk_blocks,
        }))
    }

    /// Fewest bytes of a disk that has inodes for `inodes` files.
    pub(super) fn lower_bound(inodes: u32) -> u64 {
        let full_groups = u64::from((inodes.saturating_sub(1)) / MAX_INODES_PER_GROUP);
        let last = if full_groups > 0 { MIN_GROUP_BLOCKS } else { 0 };
        ((full_groups * BLOCKS_PER_GROUP + last) * BLOCK).max(MIN_DISK_BYTES)
    }

    /// Fewest blocks of a disk of which `end` blocks are used, too few in the last group being none.
    pub(super) fn enough_blocks(end: u64) -> u64 {
        match end % BLOCKS_PER_GROUP {
            0 => end,
            rest => end - rest + rest.max(MIN_GROUP_BLOCKS),
        }
    }

    pub(super) fn inodes(&self) -> u32 {
        self.groups * self.inodes_per_group
    }

    pub(super) fn inode_table_blocks(&self) -> u32 {
        self.inodes_per_group / INODES_PER_BLOCK
    }

    /// How many inodes of `group` are in use, if those up to `last_ino` are.
    pub(super) fn used_inodes(&self, group: u32, last_ino: u32) -> u32 {
        let before = group * self.inodes_per_group;
        last_ino.saturating_sub(before).min(self.inodes_per_group)
    }

    /// Blocks of `group`.
    pub(super) fn group_blocks(&self, group: u32) -> u64 {
        let start = u64::from(group) * BLOCKS_PER_GROUP;
        (self.blocks - start).min(BLOCKS_PER_GROUP)
    }

    /// Blocks of one copy of superblock, descriptors and the room for more of them.
    pub(super) fn copy_blocks(&self) -> u64 {
        1 + u64::from(self.descriptor_blocks) + u64::from(self.reserved_descriptor_blocks)
    }

    /// Groups that start with a copy of superblock and descriptors, besides the first.
    pub(super) fn backup_groups(&self) -> impl Iterator<Item = u32> {
        let groups = u64::from(self.groups);
        let mut next = next_copy(1);
        std::iter::from_fn(move || {
            let group = next;
            next = next_copy(group + 1);
            (group < groups).then(|| low_u32(group))
        })
    }
}

/// Whether `group` starts with a copy of superblock and descriptors.
pub(super) fn has_copy(group: u32) -> bool {
    next_copy(u64::from(group)) == u64::from(group)
}

/// The first group from `group` on that starts with a copy: 0, 1, and the powers of 3, 5 and 7 (`sparse_super`).
pub(super) fn next_copy(group: u64) -> u64 {
    if group <= 1 {
        return group;
    }
    let power = |base: u64| {
        let mut power = base;
        while power < group {
            power = power.saturating_mul(base);
        }
        power
    };
    power(3).min(power(5)).min(power(7))
}

/// Checks a chunk size and turns it into blocks.
pub(super) fn chunk_blocks(chunk_bytes: u32) -> Result<u64, LayoutError> {
    const SIZES: std::ops::RangeInclusive<u32> = 4 << 10..=64 << 20;
    if !chunk_bytes.is_power_of_two() || !SIZES.contains(&chunk_bytes) {
        return Err(LayoutError::ChunkSize { chunk_bytes });
    }
    Ok(u64::from(chunk_bytes) / BLOCK)
}

/// Leaves out a last group that would be too short.
fn usable_blocks(disk_blocks: u64) -> u64 {
    let rest = disk_blocks % BLOCKS_PER_GROUP;
    if disk_blocks > BLOCKS_PER_GROUP && rest < MIN_GROUP_BLOCKS {
        disk_blocks - rest
    } else {
        disk_blocks
    }
}

/// Like mke2fs, up to the size that it gives a disk of 32 GiB.
fn journal_blocks(blocks: u64) -> u32 {
    const GIB: u64 = (1 << 30) / BLOCK;
    match blocks {
        _ if blocks < GIB / 8 => 1024,
        _ if blocks < GIB => 4096,
        _ if blocks < 2 * GIB => 8192,
        _ if blocks < 16 * GIB => 16384,
        _ => 32768,
    }
}

#[cfg(test)]
mod tests;
