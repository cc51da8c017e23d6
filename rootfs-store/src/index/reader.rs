//! Finds chunks in a snapshot's index.

use std::sync::Arc;

use crate::blobs::Published;
use crate::chunk_source::ChunkSource;
use crate::digest::{BlobDigest, ChunkDigest};
use crate::index::{FANOUT, Locator, PackRef, Page, levels, slot_chunks};
use crate::store::StoreError;

/// The root page of an index, which a snapshot's config names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Root {
    /// Digest of the page.
    pub(crate) digest: ChunkDigest,
    /// The pack that holds it.
    pub(crate) pack: BlobDigest,
    /// Where its frame starts in the pack.
    pub(crate) offset: u64,
    /// Length of its frame in bytes.
    pub(crate) length: u32,
}

impl Root {
    /// The root at `at`, among the packs that were written and are published now; nothing if it is in none of these.
    pub(crate) fn published(at: &Locator, packs: &[Published]) -> Option<Self> {
        Self::complete(at, |number| Some(packs.get(number)?.digest))
    }

    /// The root at `at`, among the packs that were written, of which `pack` knows the digests.
    pub(crate) fn complete(
        at: &Locator,
        pack: impl Fn(usize) -> Option<BlobDigest>,
    ) -> Option<Self> {
        let pack = match at.pack {
            PackRef::Complete(digest) => digest,
            PackRef::New(number) => pack(number)?,
        };
        Some(Self {
            digest: at.digest,
            pack,
            offset: at.offset,
            length: at.len,
        })
    }
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
        let Some(root) = &self.root else {
            return Ok(None);
        };
        let find = || self.find_leaf(source, number);
        let leaf = source.leaf(root, levels(self.chunks), number / FANOUT, find)?;
        Ok(leaf.and_then(|page| page.get(slot(number, 0)).copied()))
    }

    /// The page of level 0 that chunk `number` hangs on, found from the root down.
    fn find_leaf(
        &self,
        source: &ChunkSource,
        number: u64,
    ) -> Result<Option<Arc<Page>>, StoreError> {
        let mut at = self.root;
        for level in (1..levels(self.chunks)).rev() {
            let Some(page) = at else { return Ok(None) };
            at = source.page(&page, level)?.get(slot(number, level)).copied();
        }
        at.map(|page| source.page(&page, 0)).transpose()
    }

    /// All chunks that are not all zero, in order, found as they are asked for.
    pub(crate) fn iter(self, source: &ChunkSource) -> Chunks<'_> {
        Chunks {
            source,
            index: self,
            path: Vec::new(),
            started: false,
        }
    }
}

/// The chunks of an index that are not all zero, by number. Holds one page of each level.
pub(crate) struct Chunks<'a> {
    source: &'a ChunkSource,
    index: Index,
    /// From the root down: a page, the first chunk that it stands for, and its next entry.
    path: Vec<(Arc<Page>, u64, usize)>,
    started: bool,
}

impl Chunks<'_> {
    fn enter(&mut self, at: &Locator, level: u8, first: u64) -> Result<(), StoreError> {
        let page = self.source.page(at, level)?;
        self.path.push((page, first, 0));
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<(u64, Locator)>, StoreError> {
        if !std::mem::replace(&mut self.started, true)
            && let Some(root) = self.index.root
        {
            self.enter(&root, levels(self.index.chunks) - 1, 0)?;
        }
        while let Some((page, first, next)) = self.path.last_mut() {
            let Some((slot, entry)) = page.entries.get(*next).copied() else {
                self.path.pop();
                continue;
            };
            *next += 1;
            let number = *first + u64::from(slot) * slot_chunks(page.level);
            if number >= self.index.chunks {
                let chunks = self.index.chunks;
                return Err(StoreError::IndexTooLarge {
                    chunk: number,
                    chunks,
                });
            }
            match page.level {
                0 => return Ok(Some((number, entry))),
                level => self.enter(&entry, level - 1, number)?,
            }
        }
        Ok(None)
    }
}

impl Iterator for Chunks<'_> {
    type Item = Result<(u64, Locator), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            // What follows a page that can't be read is not known.
            self.path.clear();
        }
        next.transpose()
    }
}

/// The slot that leads to chunk `number` in a page of `level`.
pub(super) fn slot(number: u64, level: u8) -> u8 {
    // The low eight bits of what is left, as a page has 256 slots.
    (number / slot_chunks(level)).to_le_bytes()[0]
}
