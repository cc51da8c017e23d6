//! What a disk is made of at one moment: a snapshot, and the overlays that lie over it.
//!
//! Invariant: a block is read from the highest overlay whose bit for it is set, or else from the base.

use std::ops::Range;
use std::sync::Arc;

use super::map::BLOCK_BYTES;
use super::overlay::Overlay;
use super::{DiskError, IntoSlice, ReadInto, blocks_over};
use crate::chunk_source::ChunkSource;
use crate::digest::SnapshotDigest;
use crate::index::Index;
use crate::manifest::Snapshot;
use crate::store::StoreError;

/// The snapshot at the bottom of a disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base {
    pub(crate) digest: SnapshotDigest,
    pub(crate) index: Index,
    pub(crate) chunk_bytes: u32,
}

/// A snapshot and the overlays over it, which are never changed in place.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    pub(crate) base: Base,
    /// From the lowest to the highest.
    pub(super) overlays: Vec<Arc<Overlay>>,
}

impl Stack {
    /// Fills `buf` with the bytes that start at `offset`, which are on the disk.
    pub(crate) fn read(
        &self,
        source: &ChunkSource,
        buf: &mut [u8],
        offset: u64,
    ) -> Result<(), DiskError> {
        let len = buf.len();
        self.read_into(source, &mut IntoSlice::new(buf), offset, len)
    }

    /// Puts the `len` bytes that start at `offset`, which are on the disk.
    pub(super) fn read_into(
        &self,
        source: &ChunkSource,
        target: &mut dyn ReadInto,
        offset: u64,
        len: usize,
    ) -> Result<(), DiskError> {
        let (mut at, mut rest) = (offset, len);
        while rest > 0 {
            let (holder, end) = self.holder(blocks_over(at..at + rest as u64));
            let run = usize::try_from(end * BLOCK_BYTES - at).map_or(rest, |run| run.min(rest));
            match holder {
                Some(overlay) => overlay.read_into(target, at, run)?,
                None => self.base.read_into(source, target, at, run)?,
            }
            at += run as u64;
            rest -= run;
        }
        Ok(())
    }

    /// Numbers of the chunks that a read of these bytes takes from the base, ascending.
    pub(super) fn base_chunks(&self, bytes: Range<u64>) -> Vec<u64> {
        let chunk_bytes = u64::from(self.base.chunk_bytes);
        let (mut chunks, mut at) = (Vec::new(), bytes.start);
        while at < bytes.end {
            let (holder, end) = self.holder(blocks_over(at..bytes.end));
            let end = (end * BLOCK_BYTES).min(bytes.end);
            if holder.is_none() {
                let from = chunks.last().map_or(0, |last| last + 1);
                chunks.extend((at / chunk_bytes).max(from)..end.div_ceil(chunk_bytes));
            }
            at = end;
        }
        chunks
    }

    /// The overlay that the first of `blocks` is read from, if it is not the base, and the end of the run of those
    /// for which that is the same.
    fn holder(&self, blocks: Range<u64>) -> (Option<&Overlay>, u64) {
        let mut run = blocks;
        for overlay in self.overlays.iter().rev() {
            let (held, end) = overlay.blocks.run(run.clone());
            run.end = end;
            if held {
                return (Some(overlay), end);
            }
        }
        (None, run.end)
    }

    /// Whether there are no overlays.
    pub(crate) fn is_base_alone(&self) -> bool {
        self.overlays.is_empty()
    }

    /// Whether an overlay holds the block.
    pub(super) fn holds(&self, block: u64) -> bool {
        self.overlays
            .iter()
            .any(|overlay| overlay.blocks.get(block))
    }

    /// Numbers of the chunks of which some overlay holds a block, ascending.
    pub(crate) fn touched_chunks(&self) -> Vec<u64> {
        let group = u64::from(self.base.chunk_bytes) / BLOCK_BYTES;
        let mut chunks: Vec<u64> = self
            .overlays
            .iter()
            .flat_map(|overlay| overlay.blocks.groups(group))
            .collect();
        chunks.sort_unstable();
        chunks.dedup();
        chunks
    }

    /// Makes all that was written so far durable.
    pub(crate) fn flush(&self) -> Result<(), DiskError> {
        self.overlays.iter().try_for_each(|overlay| overlay.flush())
    }
}

impl Base {
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        Self {
            digest: snapshot.digest,
            index: snapshot.index(),
            chunk_bytes: snapshot.chunk_bytes,
        }
    }

    /// Fills `buf` with the bytes that start at `offset`, which are on the disk.
    pub(crate) fn read(
        &self,
        source: &ChunkSource,
        buf: &mut [u8],
        offset: u64,
    ) -> Result<(), StoreError> {
        let mut done = 0;
        self.pieces(source, offset, buf.len(), |piece, len| {
            let part = &mut buf[done..done + len];
            done += len;
            match piece {
                Some(bytes) => part.copy_from_slice(bytes),
                None => part.fill(0),
            }
            Ok(())
        })
    }

    /// Puts the `len` bytes that start at `offset`, which are on the disk.
    fn read_into(
        &self,
        source: &ChunkSource,
        target: &mut dyn ReadInto,
        offset: u64,
        len: usize,
    ) -> Result<(), DiskError> {
        self.pieces(source, offset, len, |piece, len| {
            match piece {
                Some(bytes) => target.put(bytes),
                None => target.put_zeroes(len),
            }
            .map_err(|source| DiskError::Target { source })
        })
    }

    /// Gives `visit` the `len` bytes that start at `offset`, chunk by chunk: bytes, or how many zeros.
    fn pieces<E: From<StoreError>>(
        &self,
        source: &ChunkSource,
        offset: u64,
        len: usize,
        mut visit: impl FnMut(Option<&[u8]>, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let chunk_bytes = u64::from(self.chunk_bytes);
        let last = (offset + len as u64).saturating_sub(1) / chunk_bytes;
        if source.remotes.are_used() && offset / chunk_bytes < last {
            let chunks = offset / chunk_bytes..=last;
            source.expect(chunks.map(|chunk| self.index.get(source, chunk)))?;
        }
        let (mut at, mut rest) = (offset, len);
        while rest > 0 {
            // Less than a chunk, which fits a usize everywhere.
            let skip = usize::try_from(at % chunk_bytes).unwrap_or(0);
            let len = (self.chunk_bytes as usize - skip).min(rest);
            match self.index.get(source, at / chunk_bytes)? {
                Some(found) => {
                    let chunk = source.chunk(&found, self.chunk_bytes as usize)?;
                    visit(Some(&chunk[skip..skip + len]), len)?;
                }
                None => visit(None, len)?,
            }
            at += len as u64;
            rest -= len;
        }
        Ok(())
    }
}
