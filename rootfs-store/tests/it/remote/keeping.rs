//! What the rest of the store makes of packs that are elsewhere.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rootfs_store::formats::parse_manifest;
use rootfs_store::{BlobDigest, Pack, RemoteError, SnapshotDigest, Store, StoreError};

use super::origin::{Manner, ORIGIN};
use super::{CHUNK, Lazy};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[test]
fn verification_reads_what_is_here_and_asks_nobody() {
    let lazy = Lazy::new();
    lazy.check_chunk(&lazy.store, 3);
    lazy.origin.requests();
    let verified = lazy.reopened().verify(&()).unwrap();
    assert!(verified.faults.is_empty(), "{:?}", verified.faults);
    assert_eq!((verified.snapshots, verified.remote_packs), (1, 1));
    assert_eq!(verified.remote_bytes, lazy.packs[0].bytes);
    assert!(verified.missing_bytes < verified.remote_bytes - CHUNK as u64);
    assert!(verified.missing_bytes > verified.remote_bytes / 2);
    // What is damaged can be fetched again, so it is no fault.
    let at = 3 * CHUNK as u64 + 500;
    let file = fs::OpenOptions::new()
        .write(true)
        .open(lazy.cache())
        .unwrap();
    file.write_all_at(&[0xee; 512], at).unwrap();
    let store = lazy.reopened();
    let verified = store.verify(&()).unwrap();
    assert!(verified.faults.is_empty(), "{:?}", verified.faults);
    assert_eq!(lazy.origin.requests(), []);
    lazy.check_chunk(&store, 3);
    assert!(!lazy.origin.requests().is_empty());
}

#[test]
fn damaged_record_is_a_fault_that_can_be_repaired() {
    let lazy = Lazy::new();
    let mut record = fs::read(lazy.record()).unwrap();
    record[60] ^= 1;
    fs::write(lazy.record(), record).unwrap();
    let store = lazy.reopened();
    let found = store.snapshot(&lazy.snapshot);
    let Err(StoreError::Remote(error)) = found else {
        panic!("{found:?}")
    };
    assert!(matches!(*error, RemoteError::Record { .. }), "{error}");
    let verified = store.verify(&()).unwrap();
    let [fault] = &verified.faults[..] else {
        panic!("{:?}", verified.faults)
    };
    assert_eq!(fault.file, lazy.record());
    assert_eq!(fault.affected[0].snapshot, lazy.snapshot);
    // A collection can't tell whether it is needed.
    store.gc(Duration::ZERO, &()).unwrap();
    assert!(lazy.record().exists());
    let repaired = store
        .repair(&lazy.dir.path().join("from").into(), &())
        .unwrap();
    assert!(
        repaired.verified.faults.is_empty(),
        "{:?}",
        repaired.verified
    );
    assert_eq!(repaired.blobs, [lazy.packs[0].digest]);
    lazy.check_all(&store);
}

#[test]
fn record_that_is_gone_is_a_missing_pack() {
    let lazy = Lazy::new();
    fs::remove_file(lazy.record()).unwrap();
    let store = lazy.reopened();
    let missing = store.snapshot(&lazy.snapshot);
    assert!(
        matches!(missing, Err(StoreError::BlobMissing { .. })),
        "{missing:?}"
    );
    assert_eq!(store.verify(&()).unwrap().faults.len(), 1);
    // Whoever knows says again where it is.
    let lease = store.lease().unwrap();
    store.add_origin(&lazy.packs, ORIGIN, &lease).unwrap();
    lazy.check_all(&store);
}

#[test]
fn what_is_no_file_in_the_place_of_one_is_an_error_or_does_no_harm() {
    let lazy = Lazy::new();
    let make_pipe = |path: &Path| {
        let made = Command::new("mkfifo").arg(path).status();
        assert!(made.unwrap().success());
    };
    fs::create_dir_all(lazy.store.dir().join("cache")).unwrap();
    make_pipe(&lazy.cache());
    lazy.check_chunk(&lazy.store, 3);
    fs::remove_file(lazy.cache()).unwrap();
    fs::create_dir(lazy.cache()).unwrap();
    lazy.check_chunk(&lazy.reopened(), 3);
    fs::remove_file(lazy.record()).unwrap();
    make_pipe(&lazy.record());
    let store = lazy.reopened();
    store.snapshot(&lazy.snapshot).unwrap_err();
    assert_eq!(store.verify(&()).unwrap().faults.len(), 1);
}

#[test]
fn record_of_another_size_is_no_pack() {
    let lazy = Lazy::new();
    fs::remove_file(lazy.record()).unwrap();
    let pack = Pack {
        bytes: lazy.packs[0].bytes + 1,
        ..lazy.packs[0]
    };
    let lease = lazy.store.lease().unwrap();
    lazy.store.add_origin(&[pack], ORIGIN, &lease).unwrap();
    let missing = lazy.store.snapshot(&lazy.snapshot);
    assert!(
        matches!(missing, Err(StoreError::BlobMissing { .. })),
        "{missing:?}"
    );
    assert!(!lazy.store.verify(&()).unwrap().faults.is_empty());
}

#[test]
fn origins_that_no_record_can_hold_are_refused() {
    let lazy = Lazy::new();
    let lease = lazy.store.lease().unwrap();
    for origin in ["", "a\nb", &"x".repeat(1000)] {
        let refused = lazy.store.add_origin(&lazy.packs, origin, &lease);
        let Err(StoreError::Remote(error)) = refused else {
            panic!("{refused:?}")
        };
        assert!(matches!(*error, RemoteError::Bounds { .. }), "{error}");
    }
    lazy.check_chunk(&lazy.store, 0);
}

#[test]
fn collection_keeps_what_is_needed_and_removes_the_rest() {
    let mut lazy = Lazy::new();
    lazy.check_chunk(&lazy.store, 3);
    let junk = lazy.store.dir().join("cache").join("0".repeat(64));
    let theirs = lazy.store.dir().join("cache/README");
    fs::write(&junk, "no record").unwrap();
    fs::write(&theirs, "no pack").unwrap();
    let store = lazy.reopened();
    let collected = store.gc(Duration::ZERO, &()).unwrap();
    assert_eq!(collected.removed_remote_packs, 0);
    assert!(lazy.record().exists() && lazy.cache().exists());
    assert!(!junk.exists() && theirs.exists());
    lazy.store.remove_name("disk").unwrap();
    // The lease of who pulled it keeps the pack.
    store.gc(Duration::ZERO, &()).unwrap();
    assert!(lazy.record().exists() && lazy.cache().exists());
    lazy._lease = lazy.store.lease().unwrap();
    store.gc(DAY, &()).unwrap();
    assert!(lazy.record().exists() && lazy.cache().exists());
    let collected = store.gc(Duration::ZERO, &()).unwrap();
    assert_eq!(collected.removed_remote_packs, 1);
    assert!(collected.freed_bytes > CHUNK as u64);
    assert!(!lazy.record().exists() && !lazy.cache().exists());
}

#[test]
fn record_of_a_pack_that_is_a_blob_is_collected() {
    let lazy = Lazy::new();
    lazy.check_chunk(&lazy.store, 3);
    let digits = lazy.blob().file_name().unwrap().to_owned();
    let from = lazy.dir.path().join("from/blobs/sha256").join(digits);
    fs::copy(from, lazy.blob()).unwrap();
    let store = lazy.reopened();
    assert!(store.elsewhere(&lazy.snapshot).unwrap().is_empty());
    store.gc(DAY, &()).unwrap();
    assert!(!lazy.record().exists() && !lazy.cache().exists() && lazy.blob().exists());
    lazy.check_all(&store);
    // Also those that had it open.
    lazy.check_all(&lazy.store);
}

#[test]
fn usage_tells_what_is_here_and_what_elsewhere() {
    let lazy = Lazy::new();
    lazy.check_chunk(&lazy.store, 3);
    lazy.origin.behave(Manner {
        is_down: true,
        ..Manner::default()
    });
    let usage = lazy.reopened().usage().unwrap();
    let [row] = &usage.snapshots[..] else {
        panic!("{usage:?}")
    };
    assert!(usage.cache_bytes >= CHUNK as u64);
    assert!(row.alone_bytes > usage.cache_bytes);
    assert_eq!(row.elsewhere_bytes, lazy.packs[0].bytes - usage.cache_bytes);
    assert_eq!((row.live_bytes, usage.unreachable_bytes), (None, 0));
}

#[test]
fn commits_growths_and_compactions_read_what_they_need() {
    let lazy = Lazy::new();
    let disk = lazy.store.create_disk("d", &lazy.snapshot).unwrap();
    disk.write_at(&[7; 4096], 10 * CHUNK as u64).unwrap();
    let committed = lazy.store.commit(&disk, &()).unwrap();
    assert!(lazy.origin.asked_bytes() < 8 * CHUNK as u64);
    drop(disk);
    lazy.store.remove_disk("d").unwrap();
    let store = lazy.reopened();
    assert_eq!(store.elsewhere(&committed.snapshot).unwrap().len(), 1);
    let path = lazy.dir.path().join("exported");
    let export = |store: &Store, snapshot| {
        store.export(snapshot, &path, &()).unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        bytes
    };
    let mut expected = lazy.bytes.clone();
    expected[10 * CHUNK..10 * CHUNK + 4096].fill(7);
    assert!(export(&store, &committed.snapshot) == expected);
    let diff = store.diff(&lazy.snapshot, &committed.snapshot).unwrap();
    assert_eq!(diff.changed_bytes(), CHUNK as u64);
    let grown = store.grow(&lazy.snapshot, 2 * lazy.bytes.len() as u64);
    let grown = grown.unwrap();
    assert!(export(&store, &grown.snapshot)[..lazy.bytes.len()] == lazy.bytes);
    let compacted = store.compact(&committed.snapshot, &()).unwrap();
    assert!(export(&store, &compacted.snapshot) == expected);
    store.set_name("new", &committed.snapshot).unwrap();
    assert!(store.compact_names(&|_| true, &()).unwrap().is_empty());
    store.gc(Duration::ZERO, &()).unwrap();
    let verified = store.verify(&()).unwrap();
    assert!(verified.faults.is_empty(), "{:?}", verified.faults);
}

#[test]
fn index_that_names_a_huge_frame_is_an_error_at_once() {
    let lazy = Lazy::new();
    let blob = |digest: &BlobDigest| {
        let dir = lazy.store.dir().join("blobs/sha256");
        dir.join(&digest.to_string()[7..])
    };
    let manifest = fs::read_to_string(blob(&lazy.snapshot.into())).unwrap();
    let old = parse_manifest(manifest.as_bytes()).unwrap().config.digest;
    let config = fs::read_to_string(blob(&old)).unwrap();
    let length = config.find("\"length\":").unwrap() + 9;
    let end = length + config[length..].find('}').unwrap();
    let config = format!("{}4294967295{}", &config[..length], &config[end..]);
    let new = BlobDigest::of(config.as_bytes());
    fs::write(blob(&new), &config).unwrap();
    let bytes = lazy.packs[0].bytes;
    let manifest = manifest
        .replace(&old.to_string(), &new.to_string())
        .replace(&format!("\"size\":{bytes}"), "\"size\":1099511627776");
    let snapshot = SnapshotDigest::of(manifest.as_bytes());
    fs::write(blob(&snapshot.into()), &manifest).unwrap();
    fs::remove_file(lazy.record()).unwrap();
    let pack = Pack {
        bytes: 1 << 40,
        ..lazy.packs[0]
    };
    let lease = lazy.store.lease().unwrap();
    lazy.store.add_origin(&[pack], ORIGIN, &lease).unwrap();
    let disk = lazy.store.create_disk("d", &snapshot).unwrap();
    let error = disk.read_at(&mut [0], 0).unwrap_err();
    assert!(error.to_string().contains("can't be a frame"), "{error}");
    assert_eq!(lazy.origin.requests(), []);
}
