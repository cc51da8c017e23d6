//! Extents: four in the inode, or a tree of blocks whose uppermost references are in the inode.
//!
//! The blocks of a tree follow each other on the disk: all leaves, then the level above them, and so on.

use super::checksum::{crc, inode_seed};
use super::format::{BLOCK, BLOCK_BYTES, low_u16, put_split_u48, put_u16, put_u32};

const MAGIC: u16 = 0xf30a;
const HEADER_BYTES: usize = 12;
const ENTRY_BYTES: usize = 12;
/// Extents or references in an inode.
const INODE_LIMIT: usize = 4;
/// Extents or references in a block, which ends with a checksum.
const BLOCK_LIMIT: usize = (BLOCK_BYTES - HEADER_BYTES) / ENTRY_BYTES;

/// Blocks of a file in a row on the disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// First block on the disk.
    pub(super) start: u64,
    /// Where the bytes are in the spool.
    pub(super) spool_offset: u64,
    /// First block in the file.
    pub(super) logical: u32,
    /// Bytes of content; the rest of the last block is zero.
    pub(super) bytes: u32,
}

impl Extent {
    pub(super) fn blocks(&self) -> u64 {
        u64::from(self.bytes).div_ceil(BLOCK)
    }

    pub(super) fn end(&self) -> u64 {
        self.start + self.blocks()
    }
}

/// How many blocks the tree of so many extents has.
pub(super) fn tree_blocks(extents: usize) -> usize {
    levels(extents).map(|level| level.blocks).sum()
}

/// A level of a tree, without the one in the inode.
#[derive(Debug, Clone, Copy)]
struct Level {
    /// Distance from the leaves.
    depth: u16,
    /// Number of its first block.
    first: usize,
    blocks: usize,
    /// Extents below one of its entries.
    span: usize,
}

/// The levels from the leaves upwards.
fn levels(extents: usize) -> impl Iterator<Item = Level> {
    let mut entries = extents;
    let mut next = Level {
        depth: 0,
        first: 0,
        blocks: 0,
        span: 1,
    };
    std::iter::from_fn(move || {
        if entries <= INODE_LIMIT {
            return None;
        }
        let blocks = entries.div_ceil(BLOCK_LIMIT);
        let level = Level { blocks, ..next };
        entries = blocks;
        next = Level {
            depth: level.depth + 1,
            first: level.first + blocks,
            blocks: 0,
            span: level.span * BLOCK_LIMIT,
        };
        Some(level)
    })
}

/// Fills the 60 bytes of an inode that say where its blocks are; the tree's blocks start at `tree`.
pub(super) fn put_root(body: &mut [u8], extents: &[Extent], tree: u64) {
    match levels(extents.len()).last() {
        None => put_leaf(body, extents, INODE_LIMIT),
        Some(below) => {
            let first = tree + below.first as u64;
            let span = below.span * BLOCK_LIMIT;
            put_node(body, extents, span, first, below.depth + 1, INODE_LIMIT);
        }
    }
}

/// Fills block `number` of the tree of `extents`, whose blocks start at `tree`.
pub(super) fn render_block(
    block: &mut [u8],
    number: usize,
    ino: u32,
    extents: &[Extent],
    tree: u64,
) {
    let level = levels(extents.len()).find(|l| number < l.first + l.blocks);
    let Some(level) = level else {
        return;
    };
    let position = number - level.first;
    let covered = level.span * BLOCK_LIMIT;
    let start = position * covered;
    let below = &extents[start..extents.len().min(start + covered)];
    if level.depth == 0 {
        put_leaf(block, below, BLOCK_LIMIT);
    } else {
        let first_child =
            tree + first_of(extents.len(), level.depth - 1) + (position * BLOCK_LIMIT) as u64;
        put_node(
            block,
            below,
            level.span,
            first_child,
            level.depth,
            BLOCK_LIMIT,
        );
    }
    let end = HEADER_BYTES + BLOCK_LIMIT * ENTRY_BYTES;
    let sum = crc(inode_seed(ino), &block[..end]);
    put_u32(block, end, sum);
}

/// Number of the first block of a level.
fn first_of(extents: usize, depth: u16) -> u64 {
    levels(extents)
        .find(|level| level.depth == depth)
        .map_or(0, |level| level.first as u64)
}

fn put_leaf(block: &mut [u8], extents: &[Extent], limit: usize) {
    put_header(block, extents.len(), limit, 0);
    for (extent, at) in extents.iter().zip((HEADER_BYTES..).step_by(ENTRY_BYTES)) {
        put_u32(block, at, extent.logical);
        put_u16(block, at + 4, u16::try_from(extent.blocks()).unwrap_or(0));
        put_split_u48(block, at + 8, at + 6, extent.start);
    }
}

/// Puts a reference for each `span` of extents; the blocks they lead to follow each other from `first_child` on.
fn put_node(
    block: &mut [u8],
    extents: &[Extent],
    span: usize,
    first_child: u64,
    depth: u16,
    limit: usize,
) {
    put_header(block, extents.len().div_ceil(span), limit, depth);
    let children = extents.chunks(span).zip(first_child..);
    for ((below, child), at) in children.zip((HEADER_BYTES..).step_by(ENTRY_BYTES)) {
        put_u32(block, at, below[0].logical);
        put_split_u48(block, at + 4, at + 8, child);
    }
}

fn put_header(block: &mut [u8], entries: usize, limit: usize, depth: u16) {
    // Both are at most what fits into a block.
    let small = |n: usize| low_u16(u32::try_from(n).unwrap_or(0));
    put_u16(block, 0, MAGIC);
    put_u16(block, 2, small(entries));
    put_u16(block, 4, small(limit));
    put_u16(block, 6, depth);
}

#[cfg(test)]
mod tests;
