use std::fs;
use std::path::Path;

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
    let repaired = store.repair(&second.dir().into(), &()).unwrap();
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
    assert_eq!(
        other.repair(&second.dir().into(), &()).unwrap().blobs.len(),
        1
    );
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
    let repaired = store.repair(&second.dir().into(), &()).unwrap();
    let [(digest, NotRepaired::Damaged { place, .. })] = &repaired.lost[..] else {
        panic!("{:?}", repaired.lost)
    };
    assert_eq!((*digest, place), (pack, &theirs.display().to_string()));
    assert_eq!(repaired.verified.faults.len(), 1);
    fs::remove_file(&theirs).unwrap();
    let repaired = store.repair(&second.dir().into(), &()).unwrap();
    assert!(matches!(
        repaired.lost[..],
        [(_, NotRepaired::Missing { .. })]
    ));
    assert!(store.snapshot(&snapshot.digest).is_err());
    assert!(!store.blobs().path(&pack).exists());
}

/// Ends the test's process if a repair reads what never ends, or waits for what never comes.
fn repair_in_time(store: &Store, from: &Path) -> Repaired {
    let (done, is_done) = std::sync::mpsc::channel();
    let (store, from) = (store.clone(), from.into());
    std::thread::spawn(move || done.send(store.repair(&from, &())).unwrap());
    let repaired = is_done.recv_timeout(std::time::Duration::from_secs(20));
    repaired.expect("still at it").unwrap()
}

#[test]
fn pipes_and_devices_in_the_second_copy_are_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let (store, second, snapshot) = two(dir.path());
    let pack = snapshot.packs[0].digest;
    let path = second.blobs().path(&pack);
    fs::remove_file(store.blobs().path(&pack)).unwrap();
    for replace in [
        |path: &Path| {
            let made = std::process::Command::new("mkfifo").arg(path).status();
            assert!(made.unwrap().success());
        },
        |path: &Path| std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
        |path: &Path| fs::create_dir(path).unwrap(),
    ] {
        fs::remove_file(&path).unwrap();
        replace(&path);
        let repaired = repair_in_time(&store, second.dir());
        let [(digest, error @ NotRepaired::Unreadable { .. })] = &repaired.lost[..] else {
            panic!("{:?}", repaired.lost)
        };
        assert_eq!(*digest, pack);
        let cause = std::error::Error::source(error).unwrap().to_string();
        assert_eq!(cause, "it is no file");
    }
}

#[test]
fn file_that_is_longer_than_its_manifest_says_is_not_copied() {
    let dir = tempfile::tempdir().unwrap();
    let (store, second, snapshot) = two(dir.path());
    let (manifest, pack) = (snapshot.digest.into(), snapshot.packs[0].digest);
    // A document is limited even if nothing says its size.
    for (digest, expected) in [(pack, snapshot.packs[0].bytes), (manifest, 4 << 20)] {
        fs::remove_file(store.blobs().path(&digest)).unwrap();
        let theirs = second.blobs().path(&digest);
        let whole = fs::read(&theirs).unwrap();
        fs::remove_file(&theirs).unwrap();
        // More than there is room for, if it were copied.
        let huge = fs::File::create(&theirs).unwrap();
        huge.set_len(1 << 40).unwrap();
        let repaired = repair_in_time(&store, second.dir());
        let [(lost, NotRepaired::TooLong { limit, .. })] = &repaired.lost[..] else {
            panic!("{:?}", repaired.lost)
        };
        assert_eq!((*lost, *limit), (digest, expected));
        fs::write(&theirs, whole).unwrap();
        assert_eq!(
            store.repair(&second.dir().into(), &()).unwrap().blobs,
            [digest]
        );
    }
}

#[test]
fn folder_that_is_no_layout_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let refused = store.repair(&dir.path().join("elsewhere").into(), &());
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
    let repaired = store.repair(&second.dir().into(), &()).unwrap();
    assert_eq!(repaired.blobs, [snapshot.digest.into()]);
    assert_eq!(repaired.lost.len(), 0);
    assert!(!repaired.verified.faults.is_empty());
    for fault in &repaired.verified.faults {
        assert_eq!(fault.digest, Some(digest), "{fault}");
        assert!(fault.advice().contains("was written like this"), "{fault}");
    }
}
