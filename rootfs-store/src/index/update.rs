//! Writes the pages that a set of changed chunks dirties, and no others.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::chunk::Encoder;
use crate::chunk_source::ChunkSource;
use crate::digest::ChunkDigest;
use crate::index::reader::slot;
use crate::index::{Index, Locator, Page, levels};
use crate::pack::PackSet;
use crate::store::StoreError;

/// What becomes of one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    /// Number of the chunk on the disk.
    pub(crate) chunk: u64,
    /// Where it is now; nothing if it became all zero.
    pub(crate) to: Option<Locator>,
}

/// Writes the pages of `index` that `changes` touch, ascending by chunk, and returns the new root.
///
/// A page is written after those below it, so it can name them.
pub(crate) fn update(
    index: &Index,
    changes: &[Change],
    source: &ChunkSource,
    packs: &mut PackSet<'_>,
    encoder: &mut Encoder,
) -> Result<Option<Locator>, StoreError> {
    let mut update = Update {
        source,
        packs,
        encoder,
    };
    update.page(index.root, levels(index.chunks) - 1, changes)
}

struct Update<'a, 'b> {
    source: &'a ChunkSource,
    packs: &'a mut PackSet<'b>,
    encoder: &'a mut Encoder,
}

impl Update<'_, '_> {
    fn page(
        &mut self,
        old: Option<Locator>,
        level: u8,
        changes: &[Change],
    ) -> Result<Option<Locator>, StoreError> {
        let before: BTreeMap<u8, Locator> = match &old {
            Some(at) => self
                .source
                .page(at, level)?
                .entries
                .iter()
                .copied()
                .collect(),
            None => BTreeMap::new(),
        };
        let mut entries = before.clone();
        for group in changes.chunk_by(|a, b| slot(a.chunk, level) == slot(b.chunk, level)) {
            let slot = slot(group[0].chunk, level);
            let entry = match level {
                0 => group[0].to,
                _ => self.page(before.get(&slot).copied(), level - 1, group)?,
            };
            match entry {
                Some(entry) => entries.insert(slot, entry),
                None => entries.remove(&slot),
            };
        }
        if entries.is_empty() {
            return Ok(None);
        }
        if entries == before {
            return Ok(old);
        }
        let page = Page {
            level,
            entries: entries.into_iter().collect(),
        };
        write(&page, self.packs, self.encoder).map(Some)
    }
}

/// Puts a page on top of `root` for each level of `above`, so that the tree has room for more chunks.
pub(crate) fn raise(
    root: Locator,
    above: Range<u8>,
    packs: &mut PackSet<'_>,
    encoder: &mut Encoder,
) -> Result<Locator, StoreError> {
    above.into_iter().try_fold(root, |root, level| {
        let page = Page {
            level,
            entries: vec![(0, root)],
        };
        write(&page, packs, encoder)
    })
}

fn write(
    page: &Page,
    packs: &mut PackSet<'_>,
    encoder: &mut Encoder,
) -> Result<Locator, StoreError> {
    let bytes = page.to_bytes(packs.current(), |number| packs.digest(number));
    let frame = encoder
        .encode(&bytes)
        .map_err(|source| StoreError::Compress { source })?;
    packs.add_page(ChunkDigest::of(&bytes), &frame)
}

#[cfg(test)]
mod tests;
