//! Snapshots of disks that come from no image and from no other snapshot.

use crate::chunk::DEFAULT_CHUNK_BYTES;
use crate::image::ImageConfig;
use crate::import::Imported;
use crate::index::Index;
use crate::manifest::NewSnapshot;
use crate::progress::Progress;
use crate::seal::{ChunkWriter, Dirty, Known, ReadChunk, seal};
use crate::store::{Store, StoreError};

/// A disk in chunks of [`DEFAULT_CHUNK_BYTES`].
pub(crate) struct PlainDisk<'a, N, E> {
    /// A multiple of the size of a chunk.
    pub(crate) disk_bytes: u64,
    /// Numbers of the chunks that are not all holes, ascending.
    pub(crate) occupied: N,
    /// How many these are.
    pub(crate) count: u64,
    /// Reads one of them.
    pub(crate) read: ReadChunk<'a, E>,
    /// The most bytes of a pack.
    pub(crate) pack_bytes: u64,
}

impl Store {
    /// Makes a snapshot that has no name yet.
    pub(crate) fn seal_plain<N, E>(
        &self,
        disk: PlainDisk<'_, N, E>,
        progress: &dyn Progress,
    ) -> Result<Imported, E>
    where
        N: Iterator<Item = u64> + Send,
        E: From<StoreError> + Send,
    {
        let chunk_bytes = DEFAULT_CHUNK_BYTES;
        let lease = self.lease()?;
        let empty = Index {
            root: None,
            chunks: disk.disk_bytes / u64::from(chunk_bytes),
        };
        let dirty = Dirty {
            count: disk.count,
            numbers: disk.occupied.map(Ok),
            chunk_bytes,
            known: &Known::default(),
            digest: &|_| None,
            read: disk.read,
        };
        let writer = ChunkWriter::new(self.blobs(), disk.pack_bytes);
        let sealed = seal(&self.inner.source, &empty, writer, dirty, progress)?;
        let sealed = sealed.publish(&lease, chunk_bytes)?;
        let snapshot = NewSnapshot {
            disk_bytes: disk.disk_bytes,
            chunk_bytes,
            image: None,
            parent: None,
            machine: ImageConfig::default(),
            packs: sealed.packs,
            profile: None,
            root: sealed.root,
        };
        let (snapshot, grown) = snapshot.write(self.blobs(), &lease)?;
        Ok(Imported {
            snapshot,
            disk_bytes: disk.disk_bytes,
            new_chunks: sealed.new_chunks,
            new_bytes: sealed.new_bytes,
            stored_bytes: sealed.stored_bytes + grown,
            lease,
        })
    }
}
