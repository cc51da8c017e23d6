use std::fs;
use std::os::unix::net::UnixListener;

use super::*;

fn exported(store: &Store, imported: &Imported, dir: &Path) -> Vec<u8> {
    let file = dir.join("exported");
    drop(fs::remove_file(&file));
    store.export(&imported.snapshot, &file, &()).unwrap();
    fs::read(file).unwrap()
}

/// A file of 5,000,000 bytes with data at its start, in its middle and at its end.
fn sparse(path: &Path) -> Vec<u8> {
    let file = File::create(path).unwrap();
    file.set_len(5_000_000).unwrap();
    for (byte, offset) in [(1, 0), (2, 2_000_000), (3, 4_990_000)] {
        file.write_all_at(&[byte; 10_000], offset).unwrap();
    }
    fs::read(path).unwrap()
}

#[test]
fn disk_is_what_the_file_was_and_zeros_up_to_a_whole_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let path = dir.path().join("raw");
    let mut bytes = sparse(&path);
    let imported = store.import_disk(&path, &()).unwrap();
    assert_eq!(imported.disk_bytes, 77 * (64 << 10));
    assert!(imported.new_chunks <= 5 && imported.stored_bytes < 100_000);
    bytes.resize(77 * (64 << 10), 0);
    assert_eq!(exported(&store, &imported, dir.path()), bytes);
}

#[test]
fn same_bytes_are_the_same_snapshot_with_holes_or_without() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let (one, two) = (Store::open(one).unwrap(), Store::open(two).unwrap());
    let (sparse_file, full) = (dir.path().join("sparse"), dir.path().join("full"));
    fs::write(&full, sparse(&sparse_file)).unwrap();
    let first = one.import_disk(&sparse_file, &()).unwrap();
    let second = two.import_disk(&full, &()).unwrap();
    assert_eq!(first.snapshot, second.snapshot);
    assert_eq!(one.import_disk(&full, &()).unwrap().new_bytes, 0);
}

#[test]
fn file_of_holes_alone_is_a_disk_of_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let path = dir.path().join("raw");
    File::create(&path).unwrap().set_len(100_000).unwrap();
    let imported = store.import_disk(&path, &()).unwrap();
    assert_eq!(imported.new_chunks, 0);
    assert_eq!(exported(&store, &imported, dir.path()), [0; 128 << 10]);
}

#[test]
fn what_is_no_disk_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let import = |path: &Path| store.import_disk(path, &());
    let missing = import(&dir.path().join("missing"));
    assert!(matches!(missing, Err(ImportDiskError::Io { .. })));
    assert!(matches!(
        import(dir.path()),
        Err(ImportDiskError::NoDisk { .. })
    ));
    let socket = dir.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert!(matches!(
        import(&socket),
        Err(ImportDiskError::NoDisk { .. })
    ));
    let empty = dir.path().join("empty");
    File::create(&empty).unwrap();
    assert!(matches!(
        import(&empty),
        Err(ImportDiskError::Size { bytes: 0, .. })
    ));
    File::create(&empty)
        .unwrap()
        .set_len(MAX_DISK_BYTES + 1)
        .ok();
    assert!(import(&empty).is_err());
}
