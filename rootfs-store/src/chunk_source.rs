//! Chunks and index pages by where they are: read from packs, verified, and kept for a while.
//!
//! Invariant: a cache holds verified content only, so a hit needs no check.

mod packs;

use std::sync::Arc;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::blobs::Blobs;
use crate::chunk::{self, MAX_CHUNK_BYTES};
use crate::digest::{BlobDigest, ChunkDigest};
use crate::index::{Locator, MAX_PAGE_BYTES, PackRef, Page};
use crate::remote::{Kind, Remotes};
use crate::store::StoreError;
use packs::OpenPack;

/// Bytes of plain chunks that all disks of a store share in memory.
const CHUNK_CACHE_BYTES: u64 = 128 << 20;
/// Typical chunk, for the cache's own bookkeeping.
const CHUNK_CACHE_ITEMS: usize = 2048;
/// Index pages that all disks of a store share in memory: at most about 20 KiB each.
const PAGE_CACHE_ITEMS: usize = 1024;
/// Index pages of level 0, which are found without those above them: a page stands for 16 MiB of 64 KiB chunks.
const LEAF_CACHE_ITEMS: usize = 2048;
/// Packs that are kept open.
const PACK_CACHE_ITEMS: usize = 256;

/// Where disks read from.
pub(crate) struct ChunkSource {
    pub(crate) blobs: Blobs,
    /// Packs that are not among the blobs.
    pub(crate) remotes: Remotes,
    packs: Cache<BlobDigest, OpenPack>,
    /// By pack too, as a page names its own pack without its digest.
    pages: Cache<(BlobDigest, ChunkDigest), Arc<Page>>,
    /// By root page, its pack, the levels below it, and number of the leaf; nothing where all chunks of a leaf are
    /// zero.
    leaves: Cache<(ChunkDigest, BlobDigest, u8, u64), Option<Arc<Page>>>,
    chunks: Cache<ChunkDigest, Bytes, ByLength>,
}

#[derive(Clone)]
struct ByLength;

impl Weighter<ChunkDigest, Bytes> for ByLength {
    fn weight(&self, _digest: &ChunkDigest, chunk: &Bytes) -> u64 {
        chunk.len() as u64
    }
}

impl ChunkSource {
    pub(crate) fn new(blobs: Blobs, remotes: Remotes) -> Self {
        Self {
            blobs,
            remotes,
            packs: Cache::new(PACK_CACHE_ITEMS),
            pages: Cache::new(PAGE_CACHE_ITEMS),
            leaves: Cache::new(LEAF_CACHE_ITEMS),
            chunks: Cache::with_weighter(CHUNK_CACHE_ITEMS, CHUNK_CACHE_BYTES, ByLength),
        }
    }

    /// The plain bytes of a chunk of exactly `chunk_bytes`.
    pub(crate) fn chunk(&self, at: &Locator, chunk_bytes: usize) -> Result<Bytes, StoreError> {
        let read = || self.plain(at, Kind::Chunk, chunk_bytes).map(Bytes::from);
        let chunk = self.chunks.get_or_insert_with(&at.digest, read)?;
        check_len(at, chunk.len(), chunk_bytes)?;
        Ok(chunk)
    }

    /// As [`Self::chunk`], for a caller that goes through a whole disk once: the cache is neither asked nor filled.
    pub(crate) fn read_chunk(
        &self,
        at: &Locator,
        chunk_bytes: usize,
    ) -> Result<Vec<u8>, StoreError> {
        let chunk = self.plain(at, Kind::Chunk, chunk_bytes)?;
        check_len(at, chunk.len(), chunk_bytes)?;
        Ok(chunk)
    }

    /// The index page at `at`, which must have this level.
    pub(crate) fn page(&self, at: &Locator, level: u8) -> Result<Arc<Page>, StoreError> {
        let pack = complete(at.pack)?;
        let page = self.pages.get_or_insert_with(&(pack, at.digest), || {
            let bytes = self.plain(at, Kind::Page, MAX_PAGE_BYTES)?;
            let page = Page::parse(&bytes, pack);
            page.map(Arc::new).map_err(|source| StoreError::Page {
                digest: at.digest,
                pack,
                source,
            })
        })?;
        if page.level != level {
            let source = crate::index::PageError::Level {
                found: page.level,
                expected: level,
            };
            return Err(StoreError::Page {
                digest: at.digest,
                pack,
                source,
            });
        }
        Ok(page)
    }

    /// The page of level 0 that is number `leaf` in the tree of so many levels below `root`, as `find` finds it the
    /// first time.
    pub(crate) fn leaf(
        &self,
        root: &Locator,
        levels: u8,
        leaf: u64,
        find: impl FnOnce() -> Result<Option<Arc<Page>>, StoreError>,
    ) -> Result<Option<Arc<Page>>, StoreError> {
        let key = (root.digest, complete(root.pack)?, levels, leaf);
        self.leaves.get_or_insert_with(&key, find)
    }

    /// The frame of a chunk of at most the largest size, as it is stored; what is in it was verified.
    pub(crate) fn verified_frame(&self, at: &Locator) -> Result<Vec<u8>, StoreError> {
        self.read(at, Kind::Chunk, |frame| {
            chunk::decode(&at.digest, frame, MAX_CHUNK_BYTES as usize).map(|_| frame.to_vec())
        })
    }

    /// Lets the file of a pack go, which was removed or replaced.
    pub(crate) fn forget_pack(&self, pack: &BlobDigest) {
        self.packs.remove(pack);
    }

    /// Length of the plain bytes of a chunk or page, which are verified.
    pub(crate) fn plain_len(&self, at: &Locator) -> Result<u64, StoreError> {
        let plain = self.plain(at, Kind::Alone, MAX_CHUNK_BYTES as usize)?;
        Ok(plain.len() as u64)
    }

    fn plain(&self, at: &Locator, kind: Kind, limit: usize) -> Result<Vec<u8>, StoreError> {
        self.read(at, kind, |frame| chunk::decode(&at.digest, frame, limit))
    }
}

impl std::fmt::Debug for ChunkSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkSource")
            .field("blobs", &self.blobs)
            .finish_non_exhaustive()
    }
}

fn check_len(at: &Locator, len: usize, chunk_bytes: usize) -> Result<(), StoreError> {
    match len == chunk_bytes {
        true => Ok(()),
        false => Err(StoreError::ChunkLength {
            digest: at.digest,
            len,
            chunk_bytes,
        }),
    }
}

/// Only a writer knows packs without a digest, and it never reads them.
fn complete(pack: PackRef) -> Result<BlobDigest, StoreError> {
    match pack {
        PackRef::Complete(digest) => Ok(digest),
        PackRef::New(number) => Err(StoreError::UnfinishedPack { number }),
    }
}
