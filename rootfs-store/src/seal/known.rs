//! Chunks that need not be written again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::mem;

use super::{Sealed, Stored};
use crate::blobs::StagedBlob;
use crate::chunk_source::ChunkSource;
use crate::digest::{BlobDigest, ChunkDigest};
use crate::index::{Locator, PackRef};
use crate::leases::Lease;
use crate::manifest::{Pack, Snapshot};
use crate::store::StoreError;

/// Chunks of packs that are there, by digest. Takes up to 280 bytes of memory for each. Dropping it leaves nothing of
/// the packs that have no names yet.
#[derive(Default)]
pub(crate) struct Known<'a> {
    /// Chunks that can be named.
    chunks: HashMap<ChunkDigest, Locator>,
    /// Their packs, oldest first.
    packs: Vec<Pack>,
    /// Chunks that can only be read.
    forgotten: HashMap<ChunkDigest, Locator>,
    /// The packs that have no names yet, of both.
    staged: Vec<StagedBlob<'a>>,
}

impl<'a> Known<'a> {
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
            ..Self::default()
        })
    }

    /// Adds the chunks that were written.
    pub(crate) fn add(&mut self, sealed: Sealed<'a>) {
        self.chunks.extend(sealed.written);
        self.packs.extend(sealed.packs.iter().map(named));
        self.staged.extend(sealed.packs);
    }

    /// Where a chunk is that can be named.
    pub(crate) fn usable(&self, digest: &ChunkDigest) -> Option<Locator> {
        self.chunks.get(digest).copied()
    }

    /// The frame of a chunk whose pack was forgotten.
    pub(crate) fn forgotten_frame(
        &self,
        source: &ChunkSource,
        digest: &ChunkDigest,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(at) = self.forgotten.get(digest) else {
            return Ok(None);
        };
        let holds = |pack: &&StagedBlob<'_>| at.pack == PackRef::Complete(pack.digest);
        let Some(pack) = self.staged.iter().find(holds) else {
            return source.verified_frame(at).map(Some);
        };
        let mut frame = vec![0; at.len as usize];
        pack.read_at(&mut frame, at.offset)?;
        Ok(Some(frame))
    }

    /// Where the chunks are that were used of these packs.
    pub(crate) fn chunks_of(&self, packs: &[BlobDigest], used: &Used) -> Vec<Locator> {
        let wanted =
            |at: &&Locator| matches!(at.pack, PackRef::Complete(pack) if packs.contains(&pack));
        let used = used
            .chunks
            .iter()
            .filter_map(|digest| self.chunks.get(digest));
        used.filter(wanted).copied().collect()
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

    /// Gives names to the packs that `sealed` uses and to its own, and keeps them by `lease`.
    pub(crate) fn publish(
        self,
        sealed: Sealed<'a>,
        lease: &Lease,
        chunk_bytes: u32,
    ) -> Result<Stored, StoreError> {
        let mut packs = self.packs_of(&sealed.used);
        packs.extend(sealed.packs.iter().map(named));
        let (mut new, mut stored_bytes) = (HashSet::new(), 0);
        let is_used = |pack: &StagedBlob<'_>| sealed.used.bytes.contains_key(&pack.digest);
        let staged = self.staged.into_iter().filter(is_used);
        for pack in staged.chain(sealed.packs) {
            let pack = pack.publish(lease)?;
            if pack.new {
                new.insert(pack.digest);
                stored_bytes += pack.bytes;
            }
        }
        let is_new =
            |at: &&Locator| matches!(at.pack, PackRef::Complete(pack) if new.contains(&pack));
        let chunks = self.chunks.values().chain(sealed.written.values());
        let new_chunks = chunks.filter(is_new).count() as u64;
        Ok(Stored {
            root: sealed.root,
            packs,
            changed_chunks: sealed.changed_chunks,
            new_chunks,
            new_bytes: new_chunks * u64::from(chunk_bytes),
            stored_bytes,
        })
    }
}

fn named(pack: &StagedBlob<'_>) -> Pack {
    Pack {
        digest: pack.digest,
        bytes: pack.bytes,
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
