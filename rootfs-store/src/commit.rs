//! From a writable disk to a snapshot.

use crate::digest::SnapshotDigest;
use crate::disk::{DiskError, WritableDisk};
use crate::manifest::{NewSnapshot, Snapshot};
use crate::progress::Progress;
use crate::seal::{Dirty, seal};
use crate::store::{Store, StoreError};

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
    /// The work is proportional to the chunks that were written to. What it returns is durable; the disk stays until
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
        let touched_chunks = touched.len() as u64;
        let dirty = Dirty {
            numbers: touched.into_iter(),
            count: touched_chunks,
            chunk_bytes: base.chunk_bytes,
            read: &|chunk, buffer: &mut [u8]| {
                disk.read_chunk(chunk, buffer).map_err(CommitError::from)
            },
        };
        let sealed = seal(&self.inner.source, &base.index(), dirty, progress)?;
        let mut committed = Committed {
            snapshot: base.digest,
            touched_chunks,
            changed_chunks: sealed.changed_chunks,
            new_chunks: sealed.new_chunks,
            new_bytes: sealed.new_bytes,
            stored_bytes: sealed.stored_bytes,
        };
        if sealed.root == base.root {
            return Ok(committed);
        }
        let mut packs = base.packs.clone();
        for pack in sealed.packs {
            if !packs.contains(&pack) {
                packs.push(pack);
            }
        }
        let (snapshot, grown) = new_snapshot(base, packs, sealed.root).write(self.blobs())?;
        committed.snapshot = snapshot;
        committed.stored_bytes += grown;
        Ok(committed)
    }
}

fn new_snapshot(
    base: Snapshot,
    packs: Vec<crate::manifest::Pack>,
    root: Option<crate::index::Root>,
) -> NewSnapshot {
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
