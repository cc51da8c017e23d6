//! Gives out blocks, front to back.
//!
//! Invariant: no block is given out twice, and none of a copy of the superblock and descriptors.

use std::ops::Range;

use super::format::{BLOCKS_PER_GROUP, MAX_EXTENT_BLOCKS};
use super::geometry::{Geometry, next_copy};

/// Gives out the blocks of one disk. It never fails, but may pass the disk's end.
#[derive(Debug)]
pub(super) struct Allocator {
    copy_blocks: u64,
    chunk_blocks: u64,
    cursor: u64,
    used: Vec<Range<u64>>,
}

impl Allocator {
    pub(super) fn new(geometry: &Geometry) -> Self {
        Self {
            copy_blocks: geometry.copy_blocks(),
            chunk_blocks: geometry.chunk_blocks,
            cursor: geometry.copy_blocks(),
            used: Vec::new(),
        }
    }

    /// Moves on to the next block that is `phase` blocks behind a chunk boundary.
    pub(super) fn seek(&mut self, phase: u64) {
        loop {
            let ahead = phase + self.chunk_blocks - self.cursor % self.chunk_blocks;
            self.cursor += ahead % self.chunk_blocks;
            let copy = self.next_copy();
            if self.cursor < copy.start {
                return;
            }
            self.cursor = copy.end;
        }
    }

    /// Gives out `blocks` blocks in a row; returns the first.
    pub(super) fn whole(&mut self, blocks: u64) -> u64 {
        loop {
            let copy = self.next_copy();
            if self.cursor + blocks <= copy.start {
                break;
            }
            self.cursor = copy.end;
        }
        self.take(blocks).start
    }

    /// Gives out the blocks for an extent: `blocks`, or as many of them as can be had in a row.
    pub(super) fn extent(&mut self, blocks: u64) -> Range<u64> {
        let copy = self.next_copy();
        if self.cursor >= copy.start {
            self.cursor = copy.end;
            return self.extent(blocks);
        }
        self.take(blocks.min(copy.start - self.cursor).min(MAX_EXTENT_BLOCKS))
    }

    /// The ranges that were given out, sorted and apart, and the end of the last.
    pub(super) fn finish(self) -> (Vec<Range<u64>>, u64) {
        let end = self.used.last().map_or(self.cursor, |range| range.end);
        (self.used, end)
    }

    fn take(&mut self, blocks: u64) -> Range<u64> {
        let taken = self.cursor..self.cursor + blocks;
        self.cursor = taken.end;
        match self.used.last_mut() {
            _ if blocks == 0 => {}
            Some(last) if last.end == taken.start => last.end = taken.end,
            _ => self.used.push(taken.clone()),
        }
        taken
    }

    /// The first copy of superblock and descriptors that the cursor has not passed.
    fn next_copy(&self) -> Range<u64> {
        let within = self.cursor % BLOCKS_PER_GROUP;
        let passed = within >= self.copy_blocks;
        let group = next_copy(self.cursor / BLOCKS_PER_GROUP + u64::from(passed));
        let start = group.saturating_mul(BLOCKS_PER_GROUP);
        start..start.saturating_add(self.copy_blocks)
    }
}

#[cfg(test)]
mod tests;
