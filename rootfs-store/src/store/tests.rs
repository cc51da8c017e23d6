#![expect(
    clippy::cast_possible_truncation,
    reason = "patterns of test data wrap"
)]

use super::*;
use crate::testing::snapshot_of;

#[test]
fn snapshots_are_found_by_name_digest_and_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = snapshot_of(&store, &[7; 1 << 20]);
    store.set_name("seven", &digest).unwrap();
    let text = digest.to_string();
    for name in ["seven", &text, &text[7..], &text[..20], &text[7..13]] {
        assert_eq!(store.resolve(name).unwrap(), digest, "{name}");
    }
    for name in ["eight", "", "sha256:", &text[7..12], "sha256:../../x"] {
        assert!(
            matches!(store.resolve(name), Err(StoreError::NotFound { .. })),
            "{name}"
        );
    }
}

#[test]
fn blobs_that_are_no_snapshots_are_not_resolved() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = snapshot_of(&store, &[7; 1 << 20]);
    let pack = store.snapshot(&digest).unwrap().packs[0].digest;
    assert!(matches!(
        store.resolve(&pack.to_string()[..20]),
        Err(StoreError::NotFound { .. })
    ));
    store.resolve(&pack.to_string()).unwrap_err();
}

#[test]
fn names_go_only_to_snapshots_that_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let nothing = SnapshotDigest::from_bytes([1; 32]);
    assert!(matches!(
        store.set_name("a", &nothing),
        Err(StoreError::NotFound { .. })
    ));
    assert!(matches!(
        store.remove_name("a"),
        Err(StoreError::NotFound { .. })
    ));
}

#[test]
fn store_that_can_not_be_made_names_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = Store::open(file.join("store")).unwrap_err();
    assert!(error.to_string().contains("file/store"), "{error}");
}

#[test]
fn content_does_not_depend_on_the_store_nor_on_what_is_in_it() {
    let bytes: Vec<u8> = (0..4u32 << 20).map(|n| (n >> 12) as u8 ^ n as u8).collect();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (
        Store::open(one.path()).unwrap(),
        Store::open(two.path()).unwrap(),
    );
    snapshot_of(&two, &bytes[..1 << 20]);
    assert_eq!(snapshot_of(&one, &bytes), snapshot_of(&two, &bytes));
}

#[test]
fn names_never_stand_for_another_digest() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (one, two) = (
        snapshot_of(&store, &[1; 1 << 20]),
        snapshot_of(&store, &[2; 1 << 20]),
    );
    store.set_name("placeholder", &two).unwrap();
    // A layout that came from elsewhere may hold any name.
    let index = dir.path().join("index.json");
    let text = fs::read_to_string(&index)
        .unwrap()
        .replace("placeholder", &one.to_string());
    fs::write(&index, text).unwrap();
    assert_eq!(store.resolve(&one.to_string()).unwrap(), one);
    assert_eq!(store.names().unwrap(), []);
}

#[test]
fn files_of_others_in_staging_stay() {
    let dir = tempfile::tempdir().unwrap();
    Store::open(dir.path()).unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let theirs = dir.path().join("staging/theirs");
    fs::File::create(&theirs)
        .unwrap()
        .set_modified(old)
        .unwrap();
    let folder = dir.path().join("staging/vms-folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("overlay"), b"left by a crash").unwrap();
    fs::File::open(&folder).unwrap().set_modified(old).unwrap();
    Store::open(dir.path()).unwrap();
    assert!(theirs.exists() && !folder.exists());
}

#[test]
fn links_to_other_folders_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("staging")).unwrap();
    assert!(Store::open(dir.path()).is_err());
}
