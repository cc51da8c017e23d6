//! Finds chunks in a snapshot's index.

use crate::chunk_source::ChunkSource;
use crate::digest::ChunkDigest;
use crate::index::{Locator, PackRef, levels, slot_chunks};
use crate::store::StoreError;

/// The root page of an index, which a snapshot's config names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Root {
    /// Digest of the page.
    pub(crate) digest: ChunkDigest,
    /// The pack that holds it.
    pub(crate) pack: crate::digest::BlobDigest,
    /// Where its frame starts in the pack.
    pub(crate) offset: u64,
    /// Length of its frame in bytes.
    pub(crate) length: u32,
}

impl From<Root> for Locator {
    fn from(root: Root) -> Self {
        Self {
            digest: root.digest,
            pack: PackRef::Complete(root.pack),
            offset: root.offset,
            len: root.length,
        }
    }
}

/// The index of one snapshot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Index {
    /// Nothing if all chunks are zero.
    pub(crate) root: Option<Locator>,
    /// Chunks of the disk, zero ones too.
    pub(crate) chunks: u64,
}

impl Index {
    /// Where chunk `number` is; nothing if it is all zero.
    pub(crate) fn get(
        &self,
        source: &ChunkSource,
        number: u64,
    ) -> Result<Option<Locator>, StoreError> {
        let mut at = self.root;
        for level in (0..levels(self.chunks)).rev() {
            let Some(page) = at else { return Ok(None) };
            at = source.page(&page, level)?.get(slot(number, level)).copied();
        }
        Ok(at)
    }

    /// Calls `visit` for every chunk that is not all zero, in order.
    pub(crate) fn for_each(
        &self,
        source: &ChunkSource,
        visit: &mut dyn FnMut(u64, Locator) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match self.root {
            Some(root) => self.visit_page(source, &root, levels(self.chunks) - 1, 0, visit),
            None => Ok(()),
        }
    }

    fn visit_page(
        &self,
        source: &ChunkSource,
        at: &Locator,
        level: u8,
        first: u64,
        visit: &mut dyn FnMut(u64, Locator) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let page = source.page(at, level)?;
        for (slot, entry) in &page.entries {
            let number = first + u64::from(*slot) * slot_chunks(level);
            if number >= self.chunks {
                return Err(StoreError::IndexTooLarge {
                    chunk: number,
                    chunks: self.chunks,
                });
            }
            match level {
                0 => visit(number, *entry)?,
                _ => self.visit_page(source, entry, level - 1, number, visit)?,
            }
        }
        Ok(())
    }
}

/// The slot that leads to chunk `number` in a page of `level`.
pub(super) fn slot(number: u64, level: u8) -> u8 {
    // The low eight bits of what is left, as a page has 256 slots.
    (number / slot_chunks(level)).to_le_bytes()[0]
}
