use super::*;
use crate::chunk::DEFAULT_CHUNK_BYTES;
use crate::testing::snapshot_of;

const CHUNK: usize = DEFAULT_CHUNK_BYTES as usize;
const CHUNKS: usize = 16;

/// A chunk that does not compress.
fn noise(seed: usize) -> Vec<u8> {
    let mut state = 2 * seed as u64 + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33).to_le_bytes()[..4].to_vec()
    };
    (0..CHUNK / 4).flat_map(|_| next()).collect()
}

fn content(store: &Store, digest: &SnapshotDigest) -> Vec<u8> {
    let disk = store.create_disk("reader", digest).unwrap();
    let mut bytes = vec![0; CHUNKS * CHUNK];
    disk.read_at(&mut bytes, 0).unwrap();
    drop(disk);
    store.remove_disk("reader").unwrap();
    bytes
}

/// A snapshot most of whose first packs were overwritten by a commit; named `web`.
fn sparse(store: &Store) -> SnapshotDigest {
    let bytes: Vec<u8> = (0..CHUNKS).flat_map(noise).collect();
    let base = snapshot_of(store, &bytes);
    let disk = store.create_disk("d", &base).unwrap();
    for chunk in (0..CHUNKS).filter(|chunk| chunk % 4 != 0) {
        disk.write_at(&noise(chunk + 100), (chunk * CHUNK) as u64)
            .unwrap();
    }
    let committed = store.commit(&disk, &()).unwrap();
    store.set_name("web", &committed.snapshot).unwrap();
    drop(disk);
    store.remove_disk("d").unwrap();
    committed.snapshot
}

fn collect(store: &Store) -> u64 {
    store.gc(Duration::ZERO, &()).unwrap();
    store.usage().unwrap().blob_bytes
}

#[test]
fn disk_stays_the_same_and_sparse_packs_can_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = sparse(&store);
    let expected = content(&store, &digest);
    let before = collect(&store);
    let all = store.compact_names(&|_| true, &()).unwrap();
    let [compacted] = &all[..] else {
        panic!("{all:?}")
    };
    assert_eq!(
        (compacted.from, &compacted.names[..]),
        (digest, &["web".to_owned()][..])
    );
    assert_eq!(store.resolve("web").unwrap(), compacted.snapshot);
    assert!(compacted.stored_bytes < compacted.dropped_bytes);
    drop(all);
    let after = collect(&store);
    assert!(after < before * 3 / 4, "{before} bytes became {after}");
    let store = Store::open(dir.path()).unwrap();
    let now = store.resolve("web").unwrap();
    assert_eq!(content(&store, &now), expected);
    assert!(store.verify(&()).unwrap().faults.is_empty());
    // Once is enough.
    assert_eq!(store.compact(&now, &()).unwrap().snapshot, now);
}

#[test]
fn same_snapshot_is_compacted_to_the_same() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let compact = |dir: &tempfile::TempDir| {
        let store = Store::open(dir.path()).unwrap();
        let digest = sparse(&store);
        store.compact(&digest, &()).unwrap().snapshot
    };
    assert_eq!(compact(&one), compact(&two));
}

#[test]
fn what_others_hold_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = sparse(&store);
    assert!(
        store
            .compact_names(&|name| name != "web", &())
            .unwrap()
            .is_empty()
    );
    let disk = store.create_disk("d", &digest).unwrap();
    assert!(store.compact_names(&|_| true, &()).unwrap().is_empty());
    drop(disk);
    store.remove_disk("d").unwrap();
    // A second snapshot that needs the same packs keeps them.
    let disk = store.create_disk("e", &digest).unwrap();
    disk.write_at(&[1; 4096], 0).unwrap();
    let other = store.commit(&disk, &()).unwrap();
    store.set_name("other", &other.snapshot).unwrap();
    drop(disk);
    store.remove_disk("e").unwrap();
    assert!(store.compact_names(&|_| true, &()).unwrap().is_empty());
    assert_eq!(store.resolve("web").unwrap(), digest);
}

#[test]
fn name_that_moved_meanwhile_is_not_moved_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = sparse(&store);
    let compacted = store.compact(&digest, &()).unwrap();
    let other = snapshot_of(&store, &noise(7));
    store.set_name("web", &other).unwrap();
    let references = &store.inner.references;
    let moved = references.move_name("web", digest, compacted.snapshot, 1);
    assert!(!moved.unwrap());
    assert_eq!(store.resolve("web").unwrap(), other);
}

#[test]
fn damaged_chunk_is_not_copied() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = sparse(&store);
    let snapshot = store.snapshot(&digest).unwrap();
    let at = snapshot
        .index()
        .get(&store.inner.source, 0)
        .unwrap()
        .unwrap();
    let pack = store.blobs().path(&complete(&at).unwrap());
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[usize::try_from(at.offset).unwrap() + 100] ^= 1;
    std::fs::remove_file(&pack).unwrap();
    std::fs::write(&pack, bytes).unwrap();
    let store = Store::open(dir.path()).unwrap();
    let failed = store.compact(&digest, &());
    assert!(matches!(failed, Err(StoreError::Frame { .. })));
}
