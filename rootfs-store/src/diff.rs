//! Where the disks of two snapshots differ, by their indexes alone.
//!
//! Invariant: pages and chunks of one digest are equal, so what two indexes share is passed over unread.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::chunk_source::ChunkSource;
use crate::digest::{ChunkDigest, SnapshotDigest};
use crate::index::{FANOUT, Index, Locator, Page, levels, slot_chunks};
use crate::manifest::Snapshot;
use crate::store::{Store, StoreError};
use crate::verify::add_range;

/// Most ranges of a comparison: 16 MiB.
const MAX_RANGES: usize = 1 << 20;
/// Pairs of pages that are remembered: some 20 MiB, or 50 with all their ranges.
const MAX_PAIRS: usize = 1 << 16;
/// Pairs of pages that are compared at least, if there are so many: those of 256 GiB in chunks of the usual size.
const FREE_PAIRS: u64 = 1 << 14;
/// Bytes that a page takes in its pack at least. For each that fits in the packs, one more pair is compared: honest
/// indexes have a page for each place, but hostile ones could put few pages together in as many ways as a disk has
/// places.
const MIN_PAGE_BYTES: u64 = 64;
/// Most ranges that are remembered of a pair.
const MAX_PAIR_RANGES: usize = 16;

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
    /// They differ in more places than can be listed.
    #[error("the disks differ in more than {limit} places: export both and compare the files")]
    TooManyRanges {
        /// Most that are listed.
        limit: usize,
    },
    /// Their indexes put few pages together in more ways than honest ones do.
    #[error(
        "the disks' indexes name the same pages again and again in other places, and can't be compared"
    )]
    TooManyPairs,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Finds where two snapshots differ, chunk by chunk. The work is proportional to what differs, and bounded by the
    /// pages that the two have, not by the size of their disks.
    ///
    /// # Errors
    /// [`DiffError::ChunkSizes`], [`DiffError::TooManyRanges`] or [`DiffError::TooManyPairs`], or what
    /// reading the indexes gives.
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
            left: MAX_RANGES,
            pairs_left: FREE_PAIRS + pages_at_most([&from, &to]),
            pairs: HashMap::new(),
        };
        let level = levels(a.chunks.max(b.chunks)) - 1;
        walk.subtree(level, [&Side::of(&a), &Side::of(&b)], 0)?;
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

    fn key(&self) -> Option<(ChunkDigest, u8)> {
        match self {
            Self::Empty => None,
            Self::Page(at, level) => Some((at.digest, *level)),
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

/// Two pages, or what stands for one, and the level that they are compared at.
type Pair = ([Option<(ChunkDigest, u8)>; 2], u8);

struct Walk<'a> {
    source: &'a ChunkSource,
    chunks: [u64; 2],
    chunk_bytes: u64,
    ranges: Vec<Range<u64>>,
    left: usize,
    pairs_left: u64,
    /// Where pairs of pages differ, in bytes from their first chunk on: indexes that name few pages many times are
    /// compared as fast as others. Of pairs with more ranges, each adds to those that are left.
    pairs: HashMap<Pair, Vec<Range<u64>>>,
}

impl Walk<'_> {
    /// Compares what hangs on a page of `level`, the first chunk of which is `first`.
    fn subtree(&mut self, level: u8, sides: [&Side; 2], first: u64) -> Result<(), DiffError> {
        if sides[0].is_same(sides[1]) {
            return Ok(());
        }
        let start = first * self.chunk_bytes;
        let pair = (sides.map(Side::key), level);
        let is_inside = self.is_inside(sides, level, first)?;
        if is_inside && let Some(known) = self.pairs.get(&pair) {
            for range in known.clone() {
                self.add(start + range.start..start + range.end)?;
            }
            return Ok(());
        }
        let before = self.ranges.len().saturating_sub(1);
        self.compare(level, sides, first)?;
        let found = self.ranges[before..].iter();
        let found = found.filter(|range| range.end > start);
        if is_inside && found.clone().count() <= MAX_PAIR_RANGES {
            if self.pairs.len() == MAX_PAIRS {
                self.pairs.clear();
            }
            // The first one may have begun before.
            let relative = found.map(|range| range.start.saturating_sub(start)..range.end - start);
            self.pairs.insert(pair, relative.collect());
        }
        Ok(())
    }

    fn compare(&mut self, level: u8, [a, b]: [&Side; 2], first: u64) -> Result<(), DiffError> {
        let left = self.pairs_left.checked_sub(1);
        self.pairs_left = left.ok_or(DiffError::TooManyPairs)?;
        let pages = [a.open(self.source, level)?, b.open(self.source, level)?];
        let [in_a, in_b] = &pages;
        for slot in 0..=u8::MAX {
            let number = first + u64::from(slot) * slot_chunks(level);
            if level > 0 {
                let a = a.child(in_a.as_deref(), level, slot);
                let b = b.child(in_b.as_deref(), level, slot);
                self.subtree(level - 1, [&a, &b], number)?;
                continue;
            }
            let digest = |page: &Option<Arc<Page>>, chunks| -> Result<_, StoreError> {
                let entry = page.as_ref().and_then(|page| page.get(slot));
                match entry {
                    Some(_) => within(number, chunks).map(|()| entry.map(|entry| entry.digest)),
                    None => Ok(None),
                }
            };
            if digest(in_a, self.chunks[0])? != digest(in_b, self.chunks[1])? {
                let start = number * self.chunk_bytes;
                self.add(start..start + self.chunk_bytes)?;
            }
        }
        Ok(())
    }

    /// Whether all chunks that hang on the pages are on their disks; an error if none is.
    fn is_inside(&self, sides: [&Side; 2], level: u8, first: u64) -> Result<bool, StoreError> {
        let mut is_inside = true;
        for (side, chunks) in sides.into_iter().zip(self.chunks) {
            if let Side::Page(..) = side {
                within(first, chunks)?;
                is_inside &= first + slot_chunks(level + 1) <= chunks;
            }
        }
        Ok(is_inside)
    }

    fn add(&mut self, range: Range<u64>) -> Result<(), DiffError> {
        match add_range(&mut self.ranges, range, &mut self.left) {
            true => Ok(()),
            false => Err(DiffError::TooManyRanges { limit: MAX_RANGES }),
        }
    }
}

/// Pages that the packs of two snapshots have room for.
fn pages_at_most(snapshots: [&Snapshot; 2]) -> u64 {
    let packs = snapshots.into_iter().flat_map(|snapshot| &snapshot.packs);
    // A manifest may list one pack many times.
    let packs: HashMap<_, _> = packs.map(|pack| (pack.digest, pack.bytes)).collect();
    packs.values().map(|bytes| bytes / MIN_PAGE_BYTES).sum()
}

fn within(chunk: u64, chunks: u64) -> Result<(), StoreError> {
    match chunk < chunks {
        true => Ok(()),
        false => Err(StoreError::IndexTooLarge { chunk, chunks }),
    }
}

// A slot is a byte.
const _: () = assert!(FANOUT == 1 << u8::BITS);

#[cfg(test)]
mod tests;
