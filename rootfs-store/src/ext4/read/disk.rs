//! Blocks of a disk, as they are once the journal was replayed.
//!
//! Invariant: a block of which the journal has a newer version is read from there.

use std::collections::BTreeMap;
use std::ops::Range;

use super::journal::MAGIC;
use super::superblock::{self, Superblock};
use super::{BlockRun, Content, ReadAt, ReadError};

/// Where the journal has the newest version of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Replayed {
    /// Number of the block on the disk.
    pub(super) at: u64,
    /// Whether its first bytes, which look like the journal's own, were replaced by zeros there.
    pub(super) escaped: bool,
}

/// A disk with a file system.
#[derive(Debug)]
pub(super) struct Disk<R> {
    source: R,
    block_bytes: u64,
    blocks: u64,
    replayed: BTreeMap<u64, Replayed>,
}

impl<R: ReadAt> Disk<R> {
    /// A disk of which only the superblock can be read yet.
    pub(super) fn new(source: R) -> Self {
        let bytes = superblock::OFFSET + superblock::BYTES as u64;
        Self {
            blocks: source.size() / bytes,
            source,
            block_bytes: bytes,
            replayed: BTreeMap::new(),
        }
    }

    pub(super) fn set_geometry(&mut self, superblock: &Superblock) {
        self.block_bytes = u64::from(superblock.block_bytes);
        self.blocks = superblock.blocks;
    }

    pub(super) fn set_replayed(&mut self, replayed: BTreeMap<u64, Replayed>) {
        self.replayed = replayed;
    }

    pub(super) fn superblock(&self) -> Result<[u8; superblock::BYTES], ReadError> {
        let mut bytes = [0; superblock::BYTES];
        match self.read(superblock::OFFSET, &mut bytes) {
            Err(ReadError::OutOfRange { .. }) => Err(ReadError::NoFileSystem),
            read => read.map(|()| bytes),
        }
    }

    /// Whether so many blocks from `first` on are on the file system.
    pub(super) fn has_blocks(&self, first: u64, count: u64) -> bool {
        first
            .checked_add(count)
            .is_some_and(|end| end <= self.blocks)
    }

    /// Whether a block is on the disk, be it on the file system or where that was about to grow to.
    pub(super) fn is_on_device(&self, number: u64) -> bool {
        number < self.source.size() / self.block_bytes
    }

    /// The block with this number.
    pub(super) fn block(&self, number: u64) -> Result<Vec<u8>, ReadError> {
        // At most 4 KiB.
        let mut block = vec![0; usize::try_from(self.block_bytes).unwrap_or(0)];
        self.read(number.saturating_mul(self.block_bytes), &mut block)?;
        Ok(block)
    }

    /// Fills `buf` with the bytes that start at `offset` of the file system.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let len = buf.len() as u64;
        let end = offset.checked_add(len);
        let end = end.filter(|end| end.div_ceil(self.block_bytes) <= self.blocks);
        let end = end.ok_or(ReadError::OutOfRange { offset, len })?;
        let blocks = offset / self.block_bytes..end.div_ceil(self.block_bytes);
        let (mut at, mut rest) = (offset, buf);
        for (number, replayed) in self.replayed.range(blocks) {
            let start = (number * self.block_bytes).max(at);
            let (before, after) = rest.split_at_mut(length(at..start));
            self.source.read_at(at, before)?;
            let stop = ((number + 1) * self.block_bytes).min(end);
            let (piece, after) = after.split_at_mut(length(start..stop));
            self.read_replayed(replayed, start % self.block_bytes, piece)?;
            (at, rest) = (stop, after);
        }
        if !rest.is_empty() {
            self.source.read_at(at, rest)?;
        }
        Ok(())
    }

    /// Fills `buf` with a part of a block that the journal has.
    fn read_replayed(&self, from: &Replayed, skip: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.source
            .read_at(from.at * self.block_bytes + skip, buf)?;
        if from.escaped {
            let magic = MAGIC.to_be_bytes();
            let hidden = magic.iter().skip(length(0..skip));
            buf.iter_mut()
                .zip(hidden)
                .for_each(|(byte, magic)| *byte = *magic);
        }
        Ok(())
    }

    /// Fills `buf` with the bytes of a file that start at `offset`, and with zeros past its end.
    pub(super) fn read_content(
        &self,
        content: &Content,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(), ReadError> {
        buf.fill(0);
        let end = offset.saturating_add(buf.len() as u64).min(content.len);
        let first = content
            .runs
            .partition_point(|run| run.end() * self.block_bytes <= offset);
        for run in &content.runs[first..] {
            let run_start = u64::from(run.first) * self.block_bytes;
            let start = run_start.max(offset);
            let stop = (run.end() * self.block_bytes).min(end);
            if start >= stop {
                break;
            }
            let place = length(offset..start)..length(offset..stop);
            let from = run.start * self.block_bytes + (start - run_start);
            self.read(from, &mut buf[place])?;
        }
        Ok(())
    }

    pub(super) fn plain_range(&self, run: &BlockRun) -> Option<Range<u64>> {
        let blocks = run.start..run.start + u64::from(run.blocks);
        let newer = self.replayed.range(blocks.clone()).next();
        newer
            .is_none()
            .then_some(blocks.start * self.block_bytes..blocks.end * self.block_bytes)
    }
}

/// Length of a range within a buffer, which fits in memory.
fn length(range: Range<u64>) -> usize {
    usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX)
}
