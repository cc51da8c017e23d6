//! Copy-on-write disks over a snapshot.
//!
//! Invariant: a block is read from the overlay if and only if its bit in the map is set.

mod blocks;
mod error;
mod lifetime;
mod map;
mod overlay;

use std::ops::Range;
use std::sync::{Arc, PoisonError};

use crate::digest::SnapshotDigest;
use crate::index::Index;
use crate::store::{Inner, StoreError};
pub use error::DiskError;
use map::BLOCK_LEN;
pub use map::{BLOCK_BYTES, Header as MapHeader, MapError, open_sector, seal_sector};
pub(crate) use overlay::MAP as MAP_FILE;
use overlay::Overlay;

/// A writable disk: a snapshot, and the blocks that were written since.
///
/// All methods may be called from several threads at a time. What two calls that overlap in bytes and in time leave
/// is one or the other, block by block.
#[derive(Debug)]
pub struct WritableDisk {
    store: Arc<Inner>,
    base: SnapshotDigest,
    index: Index,
    chunk_bytes: u32,
    size: u64,
    overlay: Overlay,
}

impl WritableDisk {
    /// The snapshot that the disk began as.
    #[must_use]
    pub fn base(&self) -> SnapshotDigest {
        self.base
    }

    /// Size in bytes, a multiple of [`BLOCK_BYTES`].
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that the blocks written so far take on the host.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    pub fn allocated_bytes(&self) -> Result<u64, DiskError> {
        self.overlay.allocated_bytes()
    }

    /// Fills `buf` with the bytes that start at `offset`.
    ///
    /// # Errors
    /// [`DiskError::OutOfRange`] leaves `buf` as it was; with others it may hold anything.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        self.check(offset, buf.len() as u64)?;
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let blocks = blocks_over(at..at + rest.len() as u64);
            let (in_overlay, run_end) = self.overlay.blocks.run(blocks);
            let run_end = run_end * BLOCK_BYTES;
            let len = usize::try_from(run_end - at).map_or(rest.len(), |len| len.min(rest.len()));
            let (run, after) = rest.split_at_mut(len);
            match in_overlay {
                true => self.overlay.read(run, at)?,
                false => self.read_base(run, at)?,
            }
            at += len as u64;
            rest = after;
        }
        Ok(())
    }

    /// Writes all of `buf` at `offset`.
    ///
    /// # Errors
    /// Any [`DiskError`]; each block then holds the old or the new bytes, or some of each if it was written before.
    pub fn write_at(&self, buf: &[u8], offset: u64) -> Result<(), DiskError> {
        self.check(offset, buf.len() as u64)?;
        if buf.is_empty() {
            return Ok(());
        }
        let range = offset..offset + buf.len() as u64;
        let mut dirty = self
            .overlay
            .writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.fill_partial_blocks(&range)?;
        self.overlay.write(buf, offset)?;
        self.overlay.blocks.set(blocks_over(range), &mut dirty);
        Ok(())
    }

    /// Makes all that was written so far durable.
    ///
    /// # Errors
    /// Any [`DiskError`]. After that no flush succeeds any more, as what this one should have saved may be lost.
    pub fn flush(&self) -> Result<(), DiskError> {
        self.overlay.flush()
    }

    /// Gives back the space of the whole blocks in this range, which read as zeros from then on.
    ///
    /// # Errors
    /// Any [`DiskError`], as for [`Self::write_at`].
    pub fn discard(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        self.check(offset, len)?;
        let whole =
            offset.next_multiple_of(BLOCK_BYTES)..(offset + len) / BLOCK_BYTES * BLOCK_BYTES;
        self.clear(whole)
    }

    /// Makes the range read as zeros; whole blocks give their space back.
    ///
    /// # Errors
    /// Any [`DiskError`], as for [`Self::write_at`].
    pub fn write_zeroes(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        const ZEROS: [u8; BLOCK_LEN] = [0; BLOCK_LEN];
        self.check(offset, len)?;
        let end = offset + len;
        let whole = offset.next_multiple_of(BLOCK_BYTES)..end / BLOCK_BYTES * BLOCK_BYTES;
        if whole.is_empty() && offset / BLOCK_BYTES == end / BLOCK_BYTES {
            return self.write_at(&ZEROS[..in_block(end) - in_block(offset)], offset);
        }
        let before = in_block(whole.start - offset);
        self.write_at(&ZEROS[..before], offset)?;
        self.write_at(&ZEROS[..in_block(end)], end / BLOCK_BYTES * BLOCK_BYTES)?;
        self.clear(whole)
    }

    /// Whole blocks become holes of the overlay; those that are zero in the base anyway need not be named in the map.
    fn clear(&self, whole: Range<u64>) -> Result<(), DiskError> {
        if whole.is_empty() {
            return Ok(());
        }
        let mut dirty = self
            .overlay
            .writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.overlay.clear(whole.clone())?;
        let chunk_bytes = u64::from(self.chunk_bytes);
        let mut start = whole.start;
        while start < whole.end {
            let chunk = start / chunk_bytes;
            let end = ((chunk + 1) * chunk_bytes).min(whole.end);
            if self.index.get(&self.store.source, chunk)?.is_some() {
                self.overlay.blocks.set(blocks_over(start..end), &mut dirty);
            }
            start = end;
        }
        Ok(())
    }

    /// Copies from the base what a write leaves of its first and last block.
    fn fill_partial_blocks(&self, range: &Range<u64>) -> Result<(), DiskError> {
        let blocks = blocks_over(range.clone());
        let (first, last) = (blocks.start, blocks.end - 1);
        let first_is_partial =
            !range.start.is_multiple_of(BLOCK_BYTES) || range.end < (first + 1) * BLOCK_BYTES;
        let last_is_partial = last != first && !range.end.is_multiple_of(BLOCK_BYTES);
        for (block, partial) in [(first, first_is_partial), (last, last_is_partial)] {
            if partial && !self.overlay.blocks.get(block) {
                let mut buffer = [0; BLOCK_LEN];
                self.read_base(&mut buffer, block * BLOCK_BYTES)?;
                self.overlay.write(&buffer, block * BLOCK_BYTES)?;
            }
        }
        Ok(())
    }

    fn read_base(&self, buf: &mut [u8], offset: u64) -> Result<(), StoreError> {
        let chunk_bytes = u64::from(self.chunk_bytes);
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            // Less than a chunk, which fits a usize everywhere.
            let skip = usize::try_from(at % chunk_bytes).unwrap_or(0);
            let len = (self.chunk_bytes as usize - skip).min(rest.len());
            let (piece, after) = rest.split_at_mut(len);
            match self.index.get(&self.store.source, at / chunk_bytes)? {
                Some(found) => {
                    let chunk = self.store.source.chunk(&found, self.chunk_bytes as usize)?;
                    piece.copy_from_slice(&chunk[skip..skip + len]);
                }
                None => piece.fill(0),
            }
            at += len as u64;
            rest = after;
        }
        Ok(())
    }

    /// Numbers of the chunks that were written to, ascending.
    pub(crate) fn touched_chunks(&self) -> Vec<u64> {
        self.overlay
            .blocks
            .groups(u64::from(self.chunk_bytes) / BLOCK_BYTES)
    }

    pub(crate) fn read_chunk(&self, chunk: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.read_at(buffer, chunk * u64::from(self.chunk_bytes))
    }

    fn check(&self, start: u64, len: u64) -> Result<(), DiskError> {
        match start.checked_add(len) {
            Some(end) if end <= self.size => Ok(()),
            end => Err(DiskError::OutOfRange {
                start,
                end: end.unwrap_or(u64::MAX),
                size: self.size,
            }),
        }
    }
}

/// Numbers of the blocks that the bytes of `range` lie in.
fn blocks_over(range: Range<u64>) -> Range<u64> {
    range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES)
}

fn in_block(offset: u64) -> usize {
    usize::try_from(offset % BLOCK_BYTES).unwrap_or(0)
}

#[cfg(test)]
mod tests;
