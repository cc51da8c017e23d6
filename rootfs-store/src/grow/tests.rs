use super::*;
use crate::testing::snapshot_of;

const MIB: usize = 1 << 20;

#[test]
fn grown_disk_has_the_old_bytes_and_zeros_after_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let bytes: Vec<u8> = (0..MIB).map(|n| n.to_le_bytes()[1]).collect();
    let base = snapshot_of(&store, &bytes);
    // Within the same levels of the index, one more, and several more.
    for (mib, levels_of_index) in [(2, 1), (17, 2), (8 << 10, 3), (2 << 20, 4)] {
        let size = (mib * MIB) as u64;
        let grown = store.grow(&base, size - 1).unwrap().snapshot;
        let snapshot = store.snapshot(&grown).unwrap();
        assert_eq!((snapshot.disk_bytes, snapshot.parent), (size, Some(base)));
        assert_eq!(levels(snapshot.index().chunks), levels_of_index);
        let disk = store.create_disk("d", &grown).unwrap();
        let mut found = vec![1; 2 * MIB];
        disk.read_at(&mut found, 0).unwrap();
        assert!(found[..MIB] == bytes && found[MIB..].iter().all(|byte| *byte == 0));
        // The new end can be written and committed.
        disk.write_at(b"end", size - 3).unwrap();
        let committed = store.commit(&disk, &()).unwrap().snapshot;
        drop(disk);
        store.remove_disk("d").unwrap();
        let disk = store.create_disk("d", &committed).unwrap();
        let mut end = [0; 4];
        disk.read_at(&mut end, size - 4).unwrap();
        assert_eq!(&end, b"\0end");
        drop(disk);
        store.remove_disk("d").unwrap();
    }
}

#[test]
fn disk_without_content_grows_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let base = snapshot_of(&store, &vec![0; MIB]);
    let grown = store.grow(&base, 1 << 30).unwrap().snapshot;
    let snapshot = store.snapshot(&grown).unwrap();
    assert_eq!((snapshot.root, snapshot.packs.len()), (None, 0));
}

#[test]
fn same_size_is_the_same_snapshot_and_others_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let base = snapshot_of(&store, &vec![7; 2 * MIB]);
    let same = store.grow(&base, 2 * MIB as u64).unwrap();
    assert_eq!(same.snapshot, base);
    let refused = store.grow(&base, MIB as u64);
    assert!(
        matches!(refused, Err(GrowError::Shrink { .. })),
        "{refused:?}"
    );
    for disk_bytes in [0, MAX_DISK_BYTES + 1, u64::MAX] {
        let refused = store.grow(&base, disk_bytes);
        assert!(
            matches!(refused, Err(GrowError::DiskSize { .. })),
            "{refused:?}"
        );
    }
}
