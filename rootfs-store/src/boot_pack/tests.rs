use super::*;
use crate::testing::snapshot_of;

const CHUNK: usize = 64 << 10;

/// A disk of chunks that differ, and of which some are alike.
fn bytes() -> Vec<u8> {
    let chunk = |number: usize| {
        let byte = u8::try_from(number % 20).unwrap_or_default();
        (0..CHUNK).map(move |at| byte.wrapping_add(u8::try_from(at % 7).unwrap_or_default()))
    };
    (0..40).flat_map(chunk).collect()
}

fn profiled(store: &Store, chunks: &[u64]) -> SnapshotDigest {
    let base = snapshot_of(store, &bytes());
    let disk = store.create_disk("d", &base).unwrap();
    disk.write_at(&[7; 4096], 39 * CHUNK as u64).unwrap();
    disk.set_boot_profile(BootProfile::of(chunks.iter().copied()));
    let committed = store.commit(&disk, &()).unwrap();
    store.set_name("committed", &committed.snapshot).unwrap();
    committed.snapshot
}

#[test]
fn boot_pack_holds_what_a_start_reads_in_its_order_and_the_disk_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let from = profiled(&store, &[31, 2, 39, 17, 1000]);
    let packed = store.with_boot_pack(&from, &()).unwrap();
    assert_eq!(packed.chunks, 4);
    assert!(packed.stored_bytes > 0);
    let snapshot = store.snapshot(&packed.snapshot).unwrap();
    assert_eq!(snapshot.parent, Some(from));
    let last = snapshot.packs.last().unwrap().digest;
    let source = &store.inner.source;
    let mut offset = None;
    for chunk in [31, 2, 39, 17] {
        let at = snapshot.index().get(source, chunk).unwrap().unwrap();
        assert_eq!(at.pack, crate::index::PackRef::Complete(last));
        assert!(offset < Some(at.offset));
        offset = Some(at.offset);
    }
    assert!(
        store
            .diff(&from, &packed.snapshot)
            .unwrap()
            .ranges
            .is_empty()
    );
    assert_eq!(
        store.boot_profile(&packed.snapshot).unwrap(),
        store.boot_profile(&from).unwrap()
    );
    assert!(store.verify(&()).unwrap().faults.is_empty());
    // Made again, it is the same.
    let again = store.with_boot_pack(&from, &()).unwrap();
    assert_eq!((again.snapshot, again.stored_bytes), (packed.snapshot, 0));
}

#[test]
fn snapshot_without_a_boot_profile_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let from = snapshot_of(&store, &bytes());
    let packed = store.with_boot_pack(&from, &()).unwrap();
    assert_eq!(
        (packed.snapshot, packed.chunks, packed.stored_bytes),
        (from, 0, 0)
    );
}
