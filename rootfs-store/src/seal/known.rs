//! Chunks that need not be written again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem;

use super::Sealed;
use crate::chunk_source::ChunkSource;
use crate::digest::{BlobDigest, ChunkDigest};
use crate::index::{Locator, PackRef};
use crate::manifest::{Pack, Snapshot};
use crate::store::StoreError;

/// Chunks of packs that are there, by digest. Takes about 130 bytes of memory for each.
#[derive(Debug, Default)]
pub(crate) struct Known {
    chunks: HashMap<ChunkDigest, Locator>,
    packs: Vec<Pack>,
    /// Chunks that are there too, but only to be read.
    forgotten: HashMap<ChunkDigest, Locator>,
}

impl Known {
    /// All chunks of a snapshot that lie in packs which its manifest names.
    pub(crate) fn of(snapshot: &Snapshot, source: &ChunkSource) -> Result<Self, StoreError> {
        let named: BTreeSet<_> = snapshot.packs.iter().map(|pack| pack.digest).collect();
        let mut chunks = HashMap::new();
        for found in snapshot.index().iter(source) {
            let (_, at) = found?;
            if matches!(at.pack, PackRef::Complete(pack) if named.contains(&pack)) {
                chunks.insert(at.digest, at);
            }
        }
        Ok(Self {
            chunks,
            packs: snapshot.packs.clone(),
            forgotten: HashMap::new(),
        })
    }

    /// Adds the chunks that were written.
    pub(crate) fn add(&mut self, sealed: Sealed) {
        self.chunks.extend(sealed.written);
        self.packs.extend(sealed.packs);
    }

    /// Where a chunk can be read, whether its pack was forgotten or not.
    pub(crate) fn find(&self, digest: &ChunkDigest) -> Option<Locator> {
        self.get(digest)
            .or_else(|| self.forgotten.get(digest).copied())
    }

    pub(crate) fn get(&self, digest: &ChunkDigest) -> Option<Locator> {
        self.chunks.get(digest).copied()
    }

    /// The packs that hold what was used of them, oldest first.
    pub(crate) fn packs_of(&self, used: &Used) -> Vec<Pack> {
        let used = |pack: &&Pack| used.bytes.contains_key(&pack.digest);
        self.packs.iter().filter(used).copied().collect()
    }

    /// Forgets all packs.
    pub(crate) fn forget_all(&mut self) {
        self.forgotten.extend(mem::take(&mut self.chunks));
        self.packs.clear();
    }

    /// Forgets the packs of which less than half was used, of those that were used at all; whether there were any.
    pub(crate) fn forget_sparse(&mut self, used: &Used) -> bool {
        let sparse = |pack: &&Pack| {
            let used = used.bytes.get(&pack.digest);
            used.is_some_and(|bytes| *bytes < pack.bytes / 2)
        };
        let sparse: BTreeSet<_> = self
            .packs
            .iter()
            .filter(sparse)
            .map(|pack| pack.digest)
            .collect();
        let is_sparse =
            |at: &Locator| matches!(at.pack, PackRef::Complete(pack) if sparse.contains(&pack));
        let forgotten = self.chunks.extract_if(|_, at| is_sparse(at));
        self.forgotten.extend(forgotten);
        self.packs.retain(|pack| !sparse.contains(&pack.digest));
        !sparse.is_empty()
    }
}

/// How much was used of known packs: the bytes of their frames.
#[derive(Debug, Default)]
pub(crate) struct Used {
    chunks: BTreeSet<ChunkDigest>,
    bytes: BTreeMap<BlobDigest, u64>,
}

impl Used {
    pub(super) fn add(&mut self, at: &Locator) {
        if let PackRef::Complete(pack) = at.pack
            && self.chunks.insert(at.digest)
        {
            *self.bytes.entry(pack).or_default() += u64::from(at.len);
        }
    }
}
