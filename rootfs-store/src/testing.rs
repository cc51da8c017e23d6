//! Snapshots for tests.

#![expect(
    clippy::cast_possible_truncation,
    reason = "patterns of test data wrap"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::blobs::Blobs;
use crate::chunk::{DEFAULT_CHUNK_BYTES, Encoder, MIN_CHUNK_BYTES};
use crate::chunk_source::ChunkSource;
use crate::digest::{ChunkDigest, SnapshotDigest};
use crate::files::Files;
use crate::image::ImageConfig;
use crate::index::{self, Locator, Page};
use crate::leases::Lease;
use crate::manifest::{MAX_DISK_BYTES, NewSnapshot, Pack};
use crate::pack::{PACK_BYTES, PackSet};
use crate::plain_disk::PlainDisk;
use crate::registry::{Registries, RegistryOptions};
use crate::remote::Remotes;
use crate::store::{Store, StoreError};

/// A lease in the store in `root`.
pub(crate) fn lease(root: &Path) -> Lease {
    Lease::new(&Files::default(), root).unwrap()
}

/// The chunks of an empty store in `root`.
pub(crate) fn source_in(root: &Path) -> ChunkSource {
    let files = Files::default();
    let blobs = Blobs::open(root, files.clone()).unwrap();
    let origin = Arc::new(Registries::new(RegistryOptions::default()).unwrap());
    let remotes = Remotes::new(files, root, blobs.staging(), origin, Duration::ZERO);
    ChunkSource::new(blobs, remotes)
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
    let disk = PlainDisk {
        disk_bytes: bytes.len() as u64,
        occupied: 0..chunks,
        count: chunks,
        read: &read,
        pack_bytes: TEST_PACK_BYTES,
    };
    store.seal_plain(disk, &()).unwrap().snapshot
}

/// A disk of the largest size whose index names one page of each level as often as fits. The chunks of its leaf are
/// filled with the bytes of `pattern` in turn; those of byte 0 are not there.
pub(crate) fn bomb(store: &Store, pattern: &[u8]) -> SnapshotDigest {
    let mut encoder = Encoder::new().unwrap();
    bomb_of(store, |packs| {
        let mut chunks = Vec::new();
        for byte in pattern {
            let plain = vec![*byte; MIN_CHUNK_BYTES as usize];
            let frame = encoder.encode(&plain).unwrap();
            let add = || packs.add_chunk(ChunkDigest::of(&plain), &frame).unwrap();
            chunks.push((*byte != 0).then(add));
        }
        let chunks = chunks.iter().cycle().zip(0..=u8::MAX);
        let chunks = chunks.filter_map(|(at, slot)| Some((slot, (*at)?)));
        (0, chunks.collect())
    })
}

/// As [`bomb`], with these entries of a page of the lowest level that is named many times.
pub(crate) fn bomb_of(
    store: &Store,
    lowest: impl FnOnce(&mut PackSet<'_>) -> (u8, Vec<(u8, Locator)>),
) -> SnapshotDigest {
    let lease = store.lease().unwrap();
    let mut packs = PackSet::new(store.blobs(), PACK_BYTES);
    let mut encoder = Encoder::new().unwrap();
    let (lowest, mut entries) = lowest(&mut packs);
    let mut root = None;
    // 64 · 256³ chunks of 16 KiB are 16 TiB.
    for (level, last) in [(0, 255), (1, 255), (2, 255), (3, 63)] {
        if level < lowest {
            continue;
        }
        if let Some(below) = root {
            entries = (0..=last).map(|slot| (slot, below)).collect();
        }
        let page = Page { level, entries };
        let bytes = page.to_bytes(packs.current(), |number| packs.digest(number));
        let frame = encoder.encode(&bytes).unwrap();
        root = Some(packs.add_page(ChunkDigest::of(&bytes), &frame).unwrap());
        entries = Vec::new();
    }
    let published = packs.finish(&lease).unwrap();
    let root = root.and_then(|at| index::Root::published(&at, &published));
    let snapshot = NewSnapshot {
        disk_bytes: MAX_DISK_BYTES,
        chunk_bytes: MIN_CHUNK_BYTES,
        image: None,
        parent: None,
        machine: ImageConfig::default(),
        packs: vec![Pack {
            digest: published[0].digest,
            bytes: published[0].bytes,
        }],
        profile: None,
        root,
    };
    snapshot.write(store.blobs(), &lease).unwrap().0
}
