//! Groups: which of their blocks and inodes are in use, and the descriptors that say so.
//!
//! Invariant: a group without inodes in use is flagged so, and one without blocks in use but a copy of the
//! superblock, too; nothing reads their bitmaps, which are zero.

use std::ops::Range;

use super::checksum::{crc, filesystem_seed};
use super::format::{
    BLOCK_BYTES, BLOCKS_PER_GROUP, DESCRIPTOR_BYTES, FIRST_INO, low_u16, low_u32, put_split_u32,
    put_split_u64, put_u16,
};
use super::geometry::{Geometry, has_copy};
use super::placement::Placement;
use super::survey::{Body, Survey};

const INODES_UNUSED: u16 = 1;
const BLOCKS_UNUSED: u16 = 2;
const INODE_TABLE_ZEROED: u16 = 4;

/// The descriptors of all groups, and what the superblock sums up.
#[derive(Debug)]
pub(super) struct Groups {
    pub(super) descriptors: Vec<u8>,
    pub(super) free_blocks: u64,
    pub(super) free_inodes: u32,
    /// Groups whose bitmap of blocks is read.
    pub(super) with_block_bitmap: Vec<u32>,
    /// Groups whose bitmap of inodes is read.
    pub(super) with_inode_bitmap: Vec<u32>,
}

impl Groups {
    pub(super) fn new(geometry: &Geometry, survey: &Survey, placement: &Placement) -> Self {
        let mut groups = Self {
            descriptors: Vec::new(),
            free_blocks: 0,
            free_inodes: 0,
            with_block_bitmap: Vec::new(),
            with_inode_bitmap: Vec::new(),
        };
        let directories = count_directories(geometry, survey);
        for (group, directories) in (0..geometry.groups).zip(directories) {
            let mut descriptor = [0; DESCRIPTOR_BYTES];
            groups.put_blocks(&mut descriptor, geometry, placement, group);
            groups.put_inodes(&mut descriptor, geometry, survey, placement, group);
            put_split_u32(&mut descriptor, 0x10, 0x30, directories);
            let sum = crc(filesystem_seed(), &group.to_le_bytes());
            let sum = crc(sum, &descriptor);
            put_u16(&mut descriptor, 0x1e, low_u16(sum));
            groups.descriptors.extend_from_slice(&descriptor);
        }
        groups
    }

    fn put_blocks(
        &mut self,
        descriptor: &mut [u8],
        geometry: &Geometry,
        placement: &Placement,
        group: u32,
    ) {
        let used: u64 = used_in_group(&placement.used, group)
            .map(|range| range.end - range.start)
            .sum();
        let copy = if has_copy(group) {
            geometry.copy_blocks()
        } else {
            0
        };
        let free = geometry.group_blocks(group) - used - copy;
        self.free_blocks += free;
        put_split_u64(
            descriptor,
            0x00,
            0x20,
            placement.block_bitmaps[group as usize],
        );
        put_split_u32(descriptor, 0x0c, 0x2c, low_u32(free));
        // The bitmap of the last group is always read, because it says where the file system ends.
        if used == 0 && group + 1 != geometry.groups {
            descriptor[0x12] |= low_byte(BLOCKS_UNUSED);
            return;
        }
        self.with_block_bitmap.push(group);
        let mut bitmap = [0; BLOCK_BYTES];
        render_block_bitmap(&mut bitmap, geometry, &placement.used, group);
        put_split_u32(descriptor, 0x18, 0x38, crc(filesystem_seed(), &bitmap));
    }

    fn put_inodes(
        &mut self,
        descriptor: &mut [u8],
        geometry: &Geometry,
        survey: &Survey,
        placement: &Placement,
        group: u32,
    ) {
        let used = geometry.used_inodes(group, survey.last_ino());
        let free = geometry.inodes_per_group - used;
        self.free_inodes += free;
        put_split_u64(
            descriptor,
            0x04,
            0x24,
            placement.inode_bitmaps[group as usize],
        );
        put_split_u64(
            descriptor,
            0x08,
            0x28,
            placement.inode_tables[group as usize],
        );
        put_split_u32(descriptor, 0x0e, 0x2e, free);
        put_split_u32(descriptor, 0x1c, 0x32, free);
        descriptor[0x12] |= low_byte(INODE_TABLE_ZEROED);
        if used == 0 {
            descriptor[0x12] |= low_byte(INODES_UNUSED);
            return;
        }
        self.with_inode_bitmap.push(group);
        let mut bitmap = [0; BLOCK_BYTES];
        render_inode_bitmap(&mut bitmap, geometry, survey.last_ino(), group);
        let bytes = geometry.inodes_per_group as usize / 8;
        put_split_u32(
            descriptor,
            0x1a,
            0x3a,
            crc(filesystem_seed(), &bitmap[..bytes]),
        );
    }
}

/// Fills a bitmap of zeros; bits behind the end of the file system are set.
pub(super) fn render_block_bitmap(
    bitmap: &mut [u8],
    geometry: &Geometry,
    used: &[Range<u64>],
    group: u32,
) {
    if has_copy(group) {
        set_bits(bitmap, 0..geometry.copy_blocks());
    }
    for range in used_in_group(used, group) {
        set_bits(bitmap, range);
    }
    set_bits(bitmap, geometry.group_blocks(group)..BLOCKS_PER_GROUP);
}

/// Fills a bitmap of zeros; bits that stand for no inode are set.
pub(super) fn render_inode_bitmap(
    bitmap: &mut [u8],
    geometry: &Geometry,
    last_ino: u32,
    group: u32,
) {
    set_bits(bitmap, 0..u64::from(geometry.used_inodes(group, last_ino)));
    set_bits(
        bitmap,
        u64::from(geometry.inodes_per_group)..BLOCKS_PER_GROUP,
    );
}

/// The parts of used ranges in a group, relative to its first block.
fn used_in_group(used: &[Range<u64>], group: u32) -> impl Iterator<Item = Range<u64>> {
    let start = u64::from(group) * BLOCKS_PER_GROUP;
    let end = start + BLOCKS_PER_GROUP;
    let first = used.partition_point(|range| range.end <= start);
    let inside = used[first..].iter().take_while(move |r| r.start < end);
    inside.map(move |range| range.start.max(start) - start..range.end.min(end) - start)
}

fn set_bits(bitmap: &mut [u8], bits: Range<u64>) {
    for (byte, first) in bitmap.iter_mut().zip((0u64..).step_by(8)) {
        let from = bits.start.clamp(first, first + 8) - first;
        let to = bits.end.clamp(first, first + 8) - first;
        if from < to {
            *byte |= (0xffu8 >> (8 - (to - from))) << from;
        }
    }
}

/// Directories of each group.
fn count_directories(geometry: &Geometry, survey: &Survey) -> Vec<u32> {
    let mut counts = vec![0; geometry.groups as usize];
    for record in &survey.records {
        if matches!(record.body, Body::SmallDirectory | Body::LargeDirectory(_)) {
            counts[((record.ino - 1) / geometry.inodes_per_group) as usize] += 1;
        }
    }
    counts
}

/// All flags of a descriptor fit into one byte.
fn low_byte(flags: u16) -> u8 {
    flags.to_le_bytes()[0]
}

// The reserved inodes are in use, and a group has more inodes than those.
const _: () = assert!(FIRST_INO <= super::format::INODES_PER_BLOCK);
