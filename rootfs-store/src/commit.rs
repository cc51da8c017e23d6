//! From a writable disk to a snapshot.

mod live;

use std::collections::{BTreeMap, HashSet};

use crate::compact::rewrite_packs;
use crate::digest::{BlobDigest, SnapshotDigest};
use crate::disk::{DiskError, Stack, WritableDisk};
use crate::index::{Index, Root};
use crate::leases::Lease;
use crate::live::live_bytes;
use crate::manifest::{NewProfile, NewSnapshot, Pack, Snapshot};
use crate::pack::PACK_BYTES;
use crate::profile::BootProfile;
use crate::progress::Progress;
use crate::seal::{ChunkWriter, Dirty, Known, seal};
use crate::store::{Store, StoreError};

pub use live::{Frozen, PreparedFreeze};

/// Most packs of a snapshot, unless it has more large ones than half of that: registries refuse manifests with many
/// layers, some above 500.
const MAX_PACKS: usize = 100;
/// Packs that a gathering leaves, and commits that may follow before the next.
const SPARE_PACKS: usize = MAX_PACKS / 2;
/// Packs of fewer bytes are small: gathering makes fewer of them, where large ones would be copied for nothing.
const SMALL_BYTES: u64 = PACK_BYTES / 2;
/// Of so many new packs that are not small, one lets its commit gather, on average.
const LARGE_PER_GATHERING: u8 = 16;

/// What a commit made.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The disk's content; the base itself if nothing changed.
    pub snapshot: SnapshotDigest,
    /// Chunks that were written to since the disk was made.
    pub touched_chunks: u64,
    /// Chunks that differ from the base.
    pub changed_chunks: u64,
    /// Chunks in packs that the store did not have.
    pub new_chunks: u64,
    /// Plain bytes of these.
    pub new_bytes: u64,
    /// Bytes that the store grew by.
    pub stored_bytes: u64,
    /// Keeps the snapshot and its base, until it has a name for instance.
    pub lease: Lease,
}

/// Why a disk could not become a snapshot; the disk is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Makes a snapshot of a disk that nobody writes to any more.
    ///
    /// The work is proportional to the chunks that were written to, but for one commit in fifty, and one large pack in
    /// sixteen of a disk of many: these gather what is live of sparse and small packs. What it returns is durable; the
    /// disk stays until it is removed.
    ///
    /// # Errors
    /// [`CommitError`]; the disk is as it was, and no snapshot is visible.
    pub fn commit(
        &self,
        disk: &WritableDisk,
        progress: &dyn Progress,
    ) -> Result<Committed, CommitError> {
        let _alone = disk.commit_alone();
        disk.flush()?;
        self.commit_stack(&disk.stack(), disk.boot_profile(), progress)
    }

    fn commit_stack(
        &self,
        stack: &Stack,
        profile: Option<BootProfile>,
        progress: &dyn Progress,
    ) -> Result<Committed, CommitError> {
        let lease = self.lease()?;
        let base = self.keep_under(&lease, &stack.base.digest)?;
        let touched = stack.touched_chunks();
        let mut committed = Committed::unchanged(base.digest, touched.len() as u64, lease.clone());
        if touched.is_empty() {
            return Ok(committed);
        }
        let index = base.index();
        let read = |chunk: u64, buffer: &mut [u8]| {
            let offset = chunk * u64::from(base.chunk_bytes);
            stack
                .read(&self.inner.source, buffer, offset)
                .map_err(CommitError::from)
        };
        let dirty = Dirty {
            count: committed.touched_chunks,
            numbers: touched.into_iter().map(Ok),
            chunk_bytes: base.chunk_bytes,
            known: &Known::default(),
            digest: &|_| None,
            read: &read,
        };
        let writer = ChunkWriter::new(self.blobs(), PACK_BYTES);
        let sealed = seal(&self.inner.source, &index, writer, dirty, progress)?;
        let mut sealed = sealed.publish(&lease, base.chunk_bytes)?;
        committed.changed_chunks = sealed.changed_chunks;
        committed.new_chunks = sealed.new_chunks;
        committed.new_bytes = sealed.new_bytes;
        committed.stored_bytes += sealed.stored_bytes;
        if sealed.root == base.root {
            return Ok(committed);
        }
        let more = sealed
            .packs
            .iter()
            .filter(|pack| !base.packs.contains(pack));
        let mut packs: Vec<_> = base.packs.iter().chain(more).copied().collect();
        if is_due(&packs, base.packs.len()) {
            let index = Index {
                root: sealed.root.map(Into::into),
                ..index
            };
            let gathered = self.gather(&index, packs, &lease, progress)?;
            committed.stored_bytes += gathered.stored_bytes;
            (sealed.root, packs) = (gathered.root, gathered.packs);
        }
        let inherited = base.profile.map(NewProfile::Same);
        let profile = profile.map(NewProfile::Recorded).or(inherited);
        let snapshot = new_snapshot(base, packs, profile, sealed.root);
        let (snapshot, grown) = snapshot.write(self.blobs(), &lease)?;
        committed.snapshot = snapshot;
        committed.stored_bytes += grown;
        Ok(committed)
    }

    /// Writes what is live of the sparse packs and of the smallest ones anew, so that few are left.
    fn gather(
        &self,
        index: &Index,
        packs: Vec<Pack>,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<Gathered, StoreError> {
        let source = &self.inner.source;
        let live = live_bytes(source, index, &packs)?;
        let from = worth_gathering(&packs, &live);
        let total = from.iter().filter_map(|pack| live.get(pack)).sum();
        let (root, published) = rewrite_packs(source, index, &from, lease, (progress, total))?;
        let mut gathered = Gathered {
            root,
            packs,
            stored_bytes: 0,
        };
        gathered.packs.retain(|pack| !from.contains(&pack.digest));
        for pack in published {
            gathered.packs.push(Pack {
                digest: pack.digest,
                bytes: pack.bytes,
            });
            gathered.stored_bytes += if pack.new { pack.bytes } else { 0 };
        }
        Ok(gathered)
    }
}

/// An index in fewer packs.
struct Gathered {
    root: Option<Root>,
    packs: Vec<Pack>,
    stored_bytes: u64,
}

/// Whether a commit should gather that adds the packs after the first `known`: so seldom that its cost does not count,
/// whatever the disk is made of.
///
/// Gathering leaves few small packs, and is due when they are many again. Large ones it may leave for ever, so that
/// their number says nothing; but those that were replaced must go some time. One new one in [`LARGE_PER_GATHERING`]
/// asks for that, by its digest: no count that the last gathering may have left just below a limit would be as seldom.
fn is_due(packs: &[Pack], known: usize) -> bool {
    let is_large = |pack: &&Pack| pack.bytes >= SMALL_BYTES;
    let small = packs.len() - packs.iter().filter(is_large).count();
    let asks = |pack: &Pack| pack.digest.as_bytes()[0].is_multiple_of(LARGE_PER_GATHERING);
    packs.len() > MAX_PACKS
        && (small > SPARE_PACKS || packs[known..].iter().filter(is_large).any(asks))
}

/// The packs of which less than half is live, and so many of the smallest others that half of the most may be left.
fn worth_gathering(packs: &[Pack], live: &BTreeMap<BlobDigest, u64>) -> HashSet<BlobDigest> {
    let live = |pack: &Pack| live.get(&pack.digest).copied().unwrap_or_default();
    let (sparse, mut others): (Vec<Pack>, Vec<Pack>) = packs
        .iter()
        .copied()
        .partition(|pack| live(pack) < pack.bytes / 2);
    others.sort_by_key(|pack| live(pack));
    let small = others.iter().filter(|pack| live(pack) < SMALL_BYTES);
    let small = small.take(others.len().saturating_sub(SPARE_PACKS));
    sparse.iter().chain(small).map(|pack| pack.digest).collect()
}

impl Committed {
    fn unchanged(base: SnapshotDigest, touched_chunks: u64, lease: Lease) -> Self {
        Self {
            snapshot: base,
            touched_chunks,
            changed_chunks: 0,
            new_chunks: 0,
            new_bytes: 0,
            stored_bytes: 0,
            lease,
        }
    }
}

fn new_snapshot(
    base: Snapshot,
    packs: Vec<Pack>,
    profile: Option<NewProfile>,
    root: Option<Root>,
) -> NewSnapshot {
    NewSnapshot {
        disk_bytes: base.disk_bytes,
        chunk_bytes: base.chunk_bytes,
        image: base.image,
        parent: Some(base.digest),
        machine: base.machine,
        packs,
        profile,
        root,
    }
}

#[cfg(test)]
mod tests;
