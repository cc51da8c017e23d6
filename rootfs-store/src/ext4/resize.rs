//! The resize inode: it owns the blocks behind the group descriptors, so that the disk can grow while it is mounted.
//!
//! Its only pointer leads to a map, which names the reserved blocks behind the first copy of the descriptors; each of
//! those names its counterparts in the other copies.

use super::format::{BLOCK, BLOCK_BYTES, BLOCKS_PER_GROUP, low_u32, put_u32};
use super::geometry::Geometry;
use super::inode::BODY_BYTES;

/// Block numbers of a block.
const POINTERS: usize = BLOCK_BYTES / 4;

/// Length of the inode: as much as it could address, which is how Linux knows it.
pub(super) const SIZE: u64 = ((POINTERS * POINTERS + POINTERS + 12) as u64) * BLOCK;

/// Blocks that the inode owns.
pub(super) fn blocks(geometry: &Geometry) -> u64 {
    let copies = 1 + geometry.backup_groups().count() as u64;
    1 + u64::from(geometry.reserved_descriptor_blocks) * copies
}

/// The inode's pointers: the map is the doubly indirect one.
pub(super) fn body(map: u64) -> [u8; BODY_BYTES] {
    let mut body = [0; BODY_BYTES];
    put_u32(&mut body, 13 * 4, low_u32(map));
    body
}

/// Fills the map.
pub(super) fn render_map(block: &mut [u8], geometry: &Geometry) {
    let first = geometry.descriptor_blocks;
    for reserved in first..first + geometry.reserved_descriptor_blocks {
        put_u32(block, reserved as usize % POINTERS * 4, 1 + reserved);
    }
}

/// Fills the reserved block `number` of the disk's front.
pub(super) fn render_reserved(block: &mut [u8], geometry: &Geometry, number: u64) {
    for (group, at) in geometry.backup_groups().zip((0..BLOCK_BYTES).step_by(4)) {
        put_u32(
            block,
            at,
            low_u32(number + u64::from(group) * BLOCKS_PER_GROUP),
        );
    }
}
