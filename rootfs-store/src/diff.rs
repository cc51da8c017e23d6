//! Where the disks of two snapshots differ, by their indexes alone.
//!
//! Invariant: pages and chunks of one digest are equal, so what two indexes share is passed over unread.

use std::ops::Range;
use std::sync::Arc;

use crate::chunk_source::ChunkSource;
use crate::digest::SnapshotDigest;
use crate::index::{FANOUT, Index, Locator, Page, levels, slot_chunks};
use crate::store::{Store, StoreError};
use crate::verify::add_range;

/// Where two disks differ.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diff {
    /// Size of the first disk in bytes.
    pub from_bytes: u64,
    /// Size of the second disk in bytes.
    pub to_bytes: u64,
    /// Size of the chunks that were compared, in bytes.
    pub chunk_bytes: u32,
    /// Ranges of chunks that differ, ascending and apart, in bytes. Past its end, a disk counts as zeros.
    pub ranges: Vec<Range<u64>>,
}

impl Diff {
    /// Bytes in chunks that differ.
    #[must_use]
    pub fn changed_bytes(&self) -> u64 {
        self.ranges
            .iter()
            .map(|range| range.end - range.start)
            .sum()
    }
}

/// Why two snapshots could not be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiffError {
    /// Their disks are cut in different ways.
    #[error(
        "can't compare a disk in chunks of {from} bytes with one of {to} by their indexes: export both and compare the files"
    )]
    ChunkSizes {
        /// Bytes of the first one's chunks.
        from: u32,
        /// Bytes of the second one's chunks.
        to: u32,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Finds where two snapshots differ, chunk by chunk. The work is proportional to what differs.
    ///
    /// # Errors
    /// [`DiffError::ChunkSizes`], or what reading the indexes gives.
    pub fn diff(&self, from: &SnapshotDigest, to: &SnapshotDigest) -> Result<Diff, DiffError> {
        let (_from_lease, from) = self.to_read(from)?;
        let (_to_lease, to) = self.to_read(to)?;
        if from.chunk_bytes != to.chunk_bytes {
            return Err(DiffError::ChunkSizes {
                from: from.chunk_bytes,
                to: to.chunk_bytes,
            });
        }
        let (a, b) = (from.index(), to.index());
        let mut walk = Walk {
            source: &self.inner.source,
            chunks: [a.chunks, b.chunks],
            chunk_bytes: u64::from(from.chunk_bytes),
            ranges: Vec::new(),
        };
        let level = levels(a.chunks.max(b.chunks)) - 1;
        walk.subtree(level, &Side::of(&a), &Side::of(&b), 0)?;
        Ok(Diff {
            from_bytes: from.disk_bytes,
            to_bytes: to.disk_bytes,
            chunk_bytes: from.chunk_bytes,
            ranges: walk.ranges,
        })
    }
}

/// A part of one disk's index.
#[derive(Debug, Clone, Copy)]
enum Side {
    /// Zeros, or past the end.
    Empty,
    /// A page and its level, which may be lower than its place in a taller tree: it is then that one's first part.
    Page(Locator, u8),
}

impl Side {
    fn of(index: &Index) -> Self {
        let level = levels(index.chunks) - 1;
        index
            .root
            .map_or(Self::Empty, |root| Self::Page(root, level))
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Empty, Self::Empty) => true,
            (Self::Page(a, level), Self::Page(b, other)) => a.digest == b.digest && level == other,
            _ => false,
        }
    }

    /// The page at this place, if it is of this level and not below.
    fn open(&self, source: &ChunkSource, level: u8) -> Result<Option<Arc<Page>>, StoreError> {
        match self {
            Self::Page(at, own) if *own == level => source.page(at, level).map(Some),
            _ => Ok(None),
        }
    }

    fn child(&self, page: Option<&Page>, level: u8, slot: u8) -> Self {
        match (self, page) {
            (Self::Page(_, own), Some(page)) => {
                let entry = page.get(slot).copied();
                entry.map_or(Self::Empty, |entry| Self::Page(entry, own - 1))
            }
            (Self::Page(_, own), None) if *own < level && slot == 0 => *self,
            _ => Self::Empty,
        }
    }
}

struct Walk<'a> {
    source: &'a ChunkSource,
    chunks: [u64; 2],
    chunk_bytes: u64,
    ranges: Vec<Range<u64>>,
}

impl Walk<'_> {
    /// Compares what hangs on a page of `level`, the first chunk of which is `first`.
    fn subtree(&mut self, level: u8, a: &Side, b: &Side, first: u64) -> Result<(), StoreError> {
        if a.is_same(b) {
            return Ok(());
        }
        let pages = [a.open(self.source, level)?, b.open(self.source, level)?];
        let [in_a, in_b] = &pages;
        for slot in 0..=u8::MAX {
            let number = first + u64::from(slot) * slot_chunks(level);
            if level > 0 {
                let a = a.child(in_a.as_deref(), level, slot);
                let b = b.child(in_b.as_deref(), level, slot);
                self.subtree(level - 1, &a, &b, number)?;
                continue;
            }
            let digest = |page: &Option<Arc<Page>>, chunks| -> Result<_, StoreError> {
                let entry = page.as_ref().and_then(|page| page.get(slot));
                match entry {
                    Some(_) if number >= chunks => Err(StoreError::IndexTooLarge {
                        chunk: number,
                        chunks,
                    }),
                    entry => Ok(entry.map(|entry| entry.digest)),
                }
            };
            if digest(in_a, self.chunks[0])? != digest(in_b, self.chunks[1])? {
                let start = number * self.chunk_bytes;
                add_range(&mut self.ranges, start..start + self.chunk_bytes);
            }
        }
        Ok(())
    }
}

// A slot is a byte.
const _: () = assert!(FANOUT == 1 << u8::BITS);

#[cfg(test)]
mod tests;
