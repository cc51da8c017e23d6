//! The disk of a snapshot, as a file system is read from it.

use crate::chunk_source::ChunkSource;
use crate::disk::Base;
use crate::ext4::ReadAt;
use crate::manifest::Snapshot;
use crate::store::StoreError;

/// The disk of a snapshot.
#[derive(Debug)]
pub(super) struct SnapshotDisk<'a> {
    source: &'a ChunkSource,
    disk: Base,
    bytes: u64,
}

impl<'a> SnapshotDisk<'a> {
    pub(super) fn new(source: &'a ChunkSource, snapshot: &Snapshot) -> Self {
        Self {
            source,
            disk: Base::of(snapshot),
            bytes: snapshot.disk_bytes,
        }
    }
}

impl ReadAt for SnapshotDisk<'_> {
    fn size(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        self.disk.read(self.source, buf, offset)
    }
}
