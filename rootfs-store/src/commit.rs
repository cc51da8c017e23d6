//! From a writable disk to a snapshot.

use crate::digest::SnapshotDigest;
use crate::disk::{DiskError, WritableDisk};
use crate::index::{Index, Root};
use crate::manifest::{NewSnapshot, Pack, Snapshot};
use crate::progress::Progress;
use crate::seal::{Dirty, seal};
use crate::store::{Store, StoreError};

/// Most packs of a snapshot that is committed on: registries refuse manifests with many layers, some above 500.
const MAX_PACKS: usize = 99;

/// What a commit made.
#[derive(Debug, Clone, Copy)]
pub struct Committed {
    /// The disk's content; the base itself if nothing changed.
    pub snapshot: SnapshotDigest,
    /// Chunks that were written to since the disk was made.
    pub touched_chunks: u64,
    /// Chunks that differ from the base.
    pub changed_chunks: u64,
    /// Chunks that the store did not have.
    pub new_chunks: u64,
    /// Plain bytes of these.
    pub new_bytes: u64,
    /// Bytes that the store grew by.
    pub stored_bytes: u64,
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
    /// The work is proportional to the chunks that were written to, but for each hundredth commit in a row, which
    /// gathers what is live of so many packs in a new one. What it returns is durable; the disk stays until
    /// it is removed.
    ///
    /// # Errors
    /// [`CommitError`]; the disk is as it was, and no snapshot is visible.
    pub fn commit(
        &self,
        disk: &WritableDisk,
        progress: &dyn Progress,
    ) -> Result<Committed, CommitError> {
        disk.flush()?;
        let base = self.snapshot(&disk.base())?;
        let touched = disk.touched_chunks();
        let mut committed = Committed::unchanged(base.digest, touched.len() as u64);
        if touched.is_empty() {
            return Ok(committed);
        }
        let (index, mut packs) = self.roomy(&base, &mut committed)?;
        let dirty = Dirty {
            count: touched.len() as u64,
            numbers: touched.into_iter(),
            chunk_bytes: base.chunk_bytes,
            read: &|chunk, buffer: &mut [u8]| {
                disk.read_chunk(chunk, buffer).map_err(CommitError::from)
            },
        };
        let sealed = seal(&self.inner.source, &index, dirty, progress)?;
        committed.changed_chunks = sealed.changed_chunks;
        committed.new_chunks = sealed.new_chunks;
        committed.new_bytes = sealed.new_bytes;
        committed.stored_bytes += sealed.stored_bytes;
        if sealed.root == base.root {
            return Ok(committed);
        }
        let more: Vec<_> = sealed
            .packs
            .iter()
            .filter(|pack| !packs.contains(pack))
            .copied()
            .collect();
        packs.extend(more);
        let (snapshot, grown) = new_snapshot(base, packs, sealed.root).write(self.blobs())?;
        committed.snapshot = snapshot;
        committed.stored_bytes += grown;
        Ok(committed)
    }

    /// The base's index and packs; where there are too many of these, all that is live in new ones.
    fn roomy(
        &self,
        base: &Snapshot,
        committed: &mut Committed,
    ) -> Result<(Index, Vec<Pack>), StoreError> {
        let index = base.index();
        if base.packs.len() < MAX_PACKS {
            return Ok((index, base.packs.clone()));
        }
        let source = &self.inner.source;
        let mut live = Vec::new();
        index.for_each(source, &mut |chunk, _| {
            live.push(chunk);
            Ok(())
        })?;
        let dirty = Dirty {
            count: live.len() as u64,
            numbers: live.into_iter(),
            chunk_bytes: base.chunk_bytes,
            read: &|chunk, buffer: &mut [u8]| {
                if let Some(at) = index.get(source, chunk)? {
                    buffer.copy_from_slice(&source.read_chunk(&at, buffer.len())?);
                }
                Ok::<_, StoreError>(())
            },
        };
        let empty = Index {
            root: None,
            ..index
        };
        let sealed = seal(source, &empty, dirty, &())?;
        committed.stored_bytes += sealed.stored_bytes;
        let root = sealed.root.map(Into::into);
        Ok((Index { root, ..index }, sealed.packs))
    }
}

impl Committed {
    fn unchanged(base: SnapshotDigest, touched_chunks: u64) -> Self {
        Self {
            snapshot: base,
            touched_chunks,
            changed_chunks: 0,
            new_chunks: 0,
            new_bytes: 0,
            stored_bytes: 0,
        }
    }
}

fn new_snapshot(base: Snapshot, packs: Vec<Pack>, root: Option<Root>) -> NewSnapshot {
    NewSnapshot {
        disk_bytes: base.disk_bytes,
        chunk_bytes: base.chunk_bytes,
        image: base.image,
        parent: Some(base.digest),
        machine: base.machine,
        packs,
        root,
    }
}
