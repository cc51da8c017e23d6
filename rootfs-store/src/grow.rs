//! From a snapshot to a snapshot of the same bytes on a larger disk.

use crate::chunk_source::ChunkSource;
use crate::digest::SnapshotDigest;
use crate::import::round_up;
use crate::index::{Index, Root, levels, raise};
use crate::leases::Lease;
use crate::manifest::{MAX_DISK_BYTES, NewProfile, NewSnapshot, Pack, Snapshot};
use crate::pack::{PACK_BYTES, PackSet};
use crate::seal::new_encoder;
use crate::store::{Store, StoreError};

/// What growing made.
#[derive(Debug, Clone)]
pub struct Grown {
    /// The larger disk; the snapshot itself if it has that size already.
    pub snapshot: SnapshotDigest,
    /// Keeps the snapshot, until it has a name for instance.
    pub lease: Lease,
}

/// Why a disk could not grow.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrowError {
    /// The disk is larger already, and what it holds can't be cut off.
    #[error("the disk of {snapshot} has {disk_bytes} bytes and can't shrink to {asked}")]
    Shrink {
        /// The snapshot.
        snapshot: SnapshotDigest,
        /// Size of its disk in bytes.
        disk_bytes: u64,
        /// The size that was asked for.
        asked: u64,
    },
    /// A size that no disk can have was asked for.
    #[error("a disk can't have {disk_bytes} bytes: ask for 1 to {MAX_DISK_BYTES}")]
    DiskSize {
        /// The size in bytes.
        disk_bytes: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Makes a snapshot whose disk has the bytes of another one's and zeros after them, `disk_bytes` in all, rounded up
    /// to a multiple of 1 MiB.
    ///
    /// Nothing is copied. The file system in it is as large as before: a guest's agent lets it grow when it mounts it.
    ///
    /// # Errors
    /// [`GrowError`]; no snapshot is visible.
    pub fn grow(&self, digest: &SnapshotDigest, disk_bytes: u64) -> Result<Grown, GrowError> {
        let lease = self.lease()?;
        let snapshot = self.keep_under(&lease, digest)?;
        let rounded = round_up(disk_bytes).ok_or(GrowError::DiskSize { disk_bytes })?;
        if rounded < snapshot.disk_bytes {
            return Err(GrowError::Shrink {
                snapshot: *digest,
                disk_bytes: snapshot.disk_bytes,
                asked: disk_bytes,
            });
        }
        if rounded == snapshot.disk_bytes {
            let snapshot = *digest;
            return Ok(Grown { snapshot, lease });
        }
        let (root, more) = grown_index(&self.inner.source, &snapshot, rounded, &lease)?;
        let grown = NewSnapshot {
            disk_bytes: rounded,
            chunk_bytes: snapshot.chunk_bytes,
            image: snapshot.image,
            parent: Some(*digest),
            machine: snapshot.machine,
            packs: snapshot.packs.into_iter().chain(more).collect(),
            profile: snapshot.profile.map(NewProfile::Same),
            root,
        };
        let (snapshot, _) = grown.write(self.blobs(), &lease)?;
        Ok(Grown { snapshot, lease })
    }
}

/// The root of an index for a larger disk, and the pack that it lies in if it is a new one.
fn grown_index(
    source: &ChunkSource,
    snapshot: &Snapshot,
    disk_bytes: u64,
    lease: &Lease,
) -> Result<(Option<Root>, Option<Pack>), StoreError> {
    let index = snapshot.index();
    let grown = Index {
        chunks: disk_bytes / u64::from(snapshot.chunk_bytes),
        ..index
    };
    let Some(root) = index
        .root
        .filter(|_| levels(grown.chunks) > levels(index.chunks))
    else {
        return Ok((snapshot.root, None));
    };
    let mut packs = PackSet::new(&source.blobs, PACK_BYTES);
    let above = levels(index.chunks)..levels(grown.chunks);
    let root = raise(root, above, &mut packs, &mut new_encoder()?)?;
    let published = packs.finish(lease)?;
    let pack = published.first().map(|pack| Pack {
        digest: pack.digest,
        bytes: pack.bytes,
    });
    Ok((Root::published(&root, &published), pack))
}

#[cfg(test)]
mod tests;
