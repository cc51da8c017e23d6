//! What a shutdown makes.

use std::fmt;

use rootfs_store::{Committed, SnapshotDigest};

/// The disk that a shutdown kept, and what keeping it took.
///
/// A session can be started from it, here or in any later process; so can one from its digest alone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Its name, in all stores.
    pub digest: SnapshotDigest,
    /// The size of the disk.
    pub disk_bytes: u64,
    /// Chunks of the disk that the store did not have yet.
    pub new_chunks: u64,
    /// What those hold, in bytes.
    pub new_bytes: u64,
    /// Bytes that the store grew by.
    pub stored_bytes: u64,
    /// Whether the guest left its file system unmounted or read-only, as a shutdown does, by the file system's own word.
    /// Otherwise it is as after a power cut: the next start replays the journal. After a snapshot of a guest that runs: whether
    /// the guest says that it held all its file systems still, and the root's own word is the same. It says nothing else of
    /// further drives.
    pub clean: bool,
    /// What became of the session's further drives, in the order in which they were given.
    pub drives: Vec<DriveSnapshot>,
}

/// What a shutdown kept of a further drive, and what keeping it took.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DriveSnapshot {
    /// The drive's name.
    pub name: String,
    /// The snapshot's name, in all stores; that of the snapshot before if nothing was written.
    pub digest: SnapshotDigest,
    /// The size of the drive.
    pub disk_bytes: u64,
    /// Chunks of the drive that the store did not have yet.
    pub new_chunks: u64,
    /// What those hold, in bytes.
    pub new_bytes: u64,
    /// Bytes that the store grew by.
    pub stored_bytes: u64,
    /// Whether there is an ext4 on it that was unmounted or read-only, by its own word, as [`Snapshot::clean`]. Of
    /// anything else that a guest may have put there nobody can tell, and this is `false`.
    pub clean: bool,
}

impl Snapshot {
    pub(crate) fn new(committed: &Committed, disk_bytes: u64, clean: bool) -> Self {
        Self {
            digest: committed.snapshot,
            disk_bytes,
            new_chunks: committed.new_chunks,
            new_bytes: committed.new_bytes,
            stored_bytes: committed.stored_bytes,
            clean,
            drives: Vec::new(),
        }
    }
}

impl Snapshot {
    /// Bytes that the store grew by for all disks.
    pub(crate) fn all_stored_bytes(&self) -> u64 {
        let drives = self.drives.iter().map(|drive| drive.stored_bytes);
        self.stored_bytes + drives.sum::<u64>()
    }
}

impl DriveSnapshot {
    pub(crate) fn new(name: String, committed: &Committed, disk_bytes: u64, clean: bool) -> Self {
        Self {
            name,
            digest: committed.snapshot,
            disk_bytes,
            new_chunks: committed.new_chunks,
            new_bytes: committed.new_bytes,
            stored_bytes: committed.stored_bytes,
            clean,
        }
    }
}

impl From<&DriveSnapshot> for SnapshotDigest {
    fn from(drive: &DriveSnapshot) -> Self {
        drive.digest
    }
}

impl From<&Snapshot> for SnapshotDigest {
    fn from(snapshot: &Snapshot) -> Self {
        snapshot.digest
    }
}

impl From<Snapshot> for SnapshotDigest {
    fn from(snapshot: Snapshot) -> Self {
        snapshot.digest
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digest.fmt(f)
    }
}
