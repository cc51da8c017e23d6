//! Snapshots for tests.

#![expect(
    clippy::cast_possible_truncation,
    reason = "patterns of test data wrap"
)]

use std::path::Path;

use crate::chunk::DEFAULT_CHUNK_BYTES;
use crate::digest::SnapshotDigest;
use crate::files::Files;
use crate::image::ImageConfig;
use crate::index::Index;
use crate::leases::Lease;
use crate::manifest::NewSnapshot;
use crate::seal::{Dirty, Known, seal};
use crate::store::{Store, StoreError};

/// A lease in the store in `root`.
pub(crate) fn lease(root: &Path) -> Lease {
    Lease::new(&Files::default(), root).unwrap()
}

/// Small enough that a snapshot of a megabyte may need several packs.
const TEST_PACK_BYTES: u64 = 200 << 10;

/// A snapshot of a disk with these bytes, as many as whole chunks have.
pub(crate) fn snapshot_of(store: &Store, bytes: &[u8]) -> SnapshotDigest {
    let chunk_len = DEFAULT_CHUNK_BYTES as usize;
    let chunks = (bytes.len() / chunk_len) as u64;
    let read = |chunk: u64, buffer: &mut [u8]| {
        let start = chunk as usize * chunk_len;
        buffer.copy_from_slice(&bytes[start..start + chunk_len]);
        Ok::<_, StoreError>(())
    };
    let dirty = Dirty {
        numbers: (0..chunks).map(Ok),
        pack_bytes: TEST_PACK_BYTES,
        count: chunks,
        chunk_bytes: DEFAULT_CHUNK_BYTES,
        known: &Known::default(),
        read: &read,
    };
    let empty = Index { root: None, chunks };
    let lease = store.lease().unwrap();
    let sealed = seal(&store.inner.source, &empty, dirty, &lease, &()).unwrap();
    let snapshot = NewSnapshot {
        disk_bytes: bytes.len() as u64,
        chunk_bytes: DEFAULT_CHUNK_BYTES,
        image: None,
        parent: None,
        machine: ImageConfig::default(),
        packs: sealed.packs,
        root: sealed.root,
    };
    snapshot.write(store.blobs(), &lease).unwrap().0
}
