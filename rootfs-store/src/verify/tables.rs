//! Finds frames in the tables of packs, without holding the tables.
//!
//! Invariant: only tables that were verified before are asked.

use crate::chunk_source::ChunkSource;
use crate::digest::BlobDigest;
use crate::pack::TableEntry;
use crate::store::StoreError;

/// Entries that are read at a time: chunks that follow one another on a disk mostly do so in a pack.
const WINDOW_ENTRIES: u32 = 512;

/// The tables of a store's packs, and a part of the one that was asked last.
pub(super) struct Tables<'a> {
    source: &'a ChunkSource,
    pack: Option<BlobDigest>,
    first: u32,
    entries: Vec<TableEntry>,
}

impl<'a> Tables<'a> {
    pub(super) fn new(source: &'a ChunkSource) -> Self {
        Self {
            source,
            pack: None,
            first: 0,
            entries: Vec::new(),
        }
    }

    /// The frame of this length that starts at `offset`, with its number in the table.
    pub(super) fn find(
        &mut self,
        pack: &BlobDigest,
        offset: u64,
        len: u32,
    ) -> Result<Option<(u32, TableEntry)>, StoreError> {
        if self.pack != Some(*pack) || !self.covers(offset) {
            self.move_to(pack, offset)?;
        }
        let place = |entry: &TableEntry| (entry.offset, entry.len);
        let found = self.entries.binary_search_by_key(&(offset, len), place);
        Ok(found.ok().map(|at| {
            let number = self.first + u32::try_from(at).unwrap_or(u32::MAX);
            (number, self.entries[at])
        }))
    }

    fn covers(&self, offset: u64) -> bool {
        let ends = self.entries.first().zip(self.entries.last());
        ends.is_some_and(|(first, last)| first.offset < offset && offset < last.offset)
    }

    /// Reads the part of a table that begins with the last entry before `offset`.
    fn move_to(&mut self, pack: &BlobDigest, offset: u64) -> Result<(), StoreError> {
        self.pack = None;
        let file = self.source.pack(pack)?;
        let (mut low, mut high) = (0, file.entries());
        while low < high {
            let middle = low + (high - low) / 2;
            let entries = file.table_part(middle, 1)?;
            match entries.iter().all(|entry| entry.offset < offset) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        self.first = low.saturating_sub(1);
        self.entries = file.table_part(self.first, WINDOW_ENTRIES)?;
        self.pack = Some(*pack);
        Ok(())
    }
}
