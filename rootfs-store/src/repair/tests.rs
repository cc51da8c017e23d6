use std::fs;

use super::*;
use crate::testing::snapshot_of;

const DISK: usize = 256 << 10;

/// Two stores with the same snapshot, named in the first.
fn two(dir: &Path) -> (Store, Store, crate::manifest::Snapshot) {
    let (store, second) = (dir.join("store"), dir.join("second"));
    let (store, second) = (Store::open(store).unwrap(), Store::open(second).unwrap());
    let digest = snapshot_of(&store, &[5; DISK]);
    assert_eq!(snapshot_of(&second, &[5; DISK]), digest);
    store.set_name("web", &digest).unwrap();
    let snapshot = store.snapshot(&digest).unwrap();
    (store, second, snapshot)
}

#[test]
fn snapshot_of_which_nothing_is_left_is_put_back_document_by_document() {
    let dir = tempfile::tempdir().unwrap();
    let (store, second, snapshot) = two(dir.path());
    for blob in store.blobs().list().unwrap() {
        fs::remove_file(store.blobs().path(&blob.digest)).unwrap();
    }
    let repaired = store.repair(second.dir(), &()).unwrap();
    assert_eq!((repaired.blobs.len(), repaired.lost.len()), (3, 0));
    assert!(repaired.verified.faults.is_empty());
    store.snapshot(&snapshot.digest).unwrap();
}

#[test]
fn open_disk_reads_a_chunk_again_after_its_pack_was_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let (store, second, snapshot) = two(dir.path());
    let path = store.blobs().path(&snapshot.packs[0].digest);
    let mut bytes = fs::read(&path).unwrap();
    bytes[9] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let disk = store.create_disk("d", &snapshot.digest).unwrap();
    let mut buffer = vec![0; DISK];
    disk.read_at(&mut buffer, 0).unwrap_err();
    let other = Store::open(store.dir()).unwrap();
    assert_eq!(other.repair(second.dir(), &()).unwrap().blobs.len(), 1);
    disk.read_at(&mut buffer, 0).unwrap();
    assert_eq!(buffer, [5; DISK]);
}

#[test]
fn blob_that_the_second_copy_has_not_whole_is_named_and_stays_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (store, second, snapshot) = two(dir.path());
    let pack = snapshot.packs[0].digest;
    fs::remove_file(store.blobs().path(&pack)).unwrap();
    let theirs = second.blobs().path(&pack);
    fs::remove_file(&theirs).unwrap();
    fs::write(&theirs, "other bytes").unwrap();
    let repaired = store.repair(second.dir(), &()).unwrap();
    let [(digest, NotRepaired::Damaged { path, .. })] = &repaired.lost[..] else {
        panic!("{:?}", repaired.lost)
    };
    assert_eq!((*digest, path), (pack, &theirs));
    assert_eq!(repaired.verified.faults.len(), 1);
    fs::remove_file(&theirs).unwrap();
    let repaired = store.repair(second.dir(), &()).unwrap();
    assert!(matches!(
        repaired.lost[..],
        [(_, NotRepaired::Missing { .. })]
    ));
    assert!(store.snapshot(&snapshot.digest).is_err());
    assert!(!store.blobs().path(&pack).exists());
}

#[test]
fn folder_that_is_no_layout_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let refused = store.repair(&dir.path().join("elsewhere"), &());
    assert!(matches!(refused, Err(RepairError::NoLayout { .. })));
}

#[test]
fn document_that_was_written_wrong_is_not_fetched_but_one_that_got_longer_is() {
    let dir = tempfile::tempdir().unwrap();
    let (store, second, snapshot) = two(dir.path());
    let path = store.blobs().path(&snapshot.digest.into());
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, [bytes, vec![b' '; 64 << 20]].concat()).unwrap();
    let wrong = b"no document";
    let digest = BlobDigest::of(wrong);
    for store in [&store, &second] {
        fs::write(store.blobs().path(&digest), wrong).unwrap();
    }
    let references = &store.inner.references;
    references.set_name("wrong", digest.into(), 11).unwrap();
    let repaired = store.repair(second.dir(), &()).unwrap();
    assert_eq!(repaired.blobs, [snapshot.digest.into()]);
    assert_eq!(repaired.lost.len(), 0);
    assert!(!repaired.verified.faults.is_empty());
    for fault in &repaired.verified.faults {
        assert_eq!(fault.digest, Some(digest), "{fault}");
        assert!(fault.advice().contains("was written like this"), "{fault}");
    }
}
