use std::collections::BTreeMap;
use std::sync::Arc;

use rootfs_store::SnapshotDigest;
use vmm_core::{BlockBackend, WriteSource};

use super::*;
use crate::disk::RootDisk;
use crate::holding::Holding;
use crate::testing::{record, store_with_image};

fn create(store: &Store, id: &str, base: SnapshotDigest) -> Holding {
    let mut record = record(id, base);
    record.about.labels = BTreeMap::from([("team".into(), "a".into())]);
    Holding::create(store, record).unwrap()
}

fn write(holding: &mut Holding, byte: u8, mib: u64) -> Arc<RootDisk> {
    let disk = Arc::clone(holding.open_disks().unwrap().root());
    let bytes = [byte; 8192];
    disk.write_at(&mut WriteSource::from_slice(&bytes), mib << 20)
        .unwrap();
    disk.flush().unwrap();
    disk
}

fn stopped(store: &Store, id: &str, base: SnapshotDigest, byte: u8) -> SnapshotDigest {
    let mut holding = create(store, id, base);
    drop(write(&mut holding, byte, 48));
    holding.commit(true, &()).unwrap().digest
}

fn of(store: &Store, id: &str) -> SessionStorage {
    let mut storage = store.storage().start().wait().unwrap().into_iter();
    storage.find(|session| session.id == id).unwrap()
}

fn team(store: &Store) -> u64 {
    store.storage_of_label("team", "a").start().wait().unwrap()
}

#[test]
fn a_session_takes_what_only_it_needs() {
    let (_folder, store, base) = store_with_image();
    store.name_image("base", base).unwrap();
    drop(create(&store, "fresh", base));
    stopped(&store, "stopped", base, 3);
    let mut running = create(&store, "running", base);
    write(&mut running, 4, 40);
    let storage = |id| of(&store, id);
    assert_eq!(storage("fresh").bytes(), 0);
    assert!(storage("stopped").snapshot_bytes > 0 && storage("stopped").disk_bytes == 0);
    assert!(storage("running").disk_bytes >= 8192 && storage("running").snapshot_bytes == 0);
    let all = storage("stopped").bytes() + storage("running").bytes();
    assert_eq!(team(&store), all);
}

#[test]
fn what_forks_share_among_themselves_is_their_labels() {
    let (_folder, store, base) = store_with_image();
    store.name_image("base", base).unwrap();
    let snapshot = stopped(&store, "one", base, 3);
    let alone = team(&store);
    assert!(alone > 0);
    assert_eq!(of(&store, "one").bytes(), alone);
    drop(create(&store, "fork", snapshot));
    assert_eq!(team(&store), alone);
    // Neither's removal would free it.
    assert_eq!(of(&store, "one").bytes() + of(&store, "fork").bytes(), 0);
    // What a name keeps is the embedder's.
    store.name_image("kept", snapshot).unwrap();
    assert_eq!(team(&store), 0);
}

#[test]
fn a_live_snapshot_hides_nothing_of_what_its_session_takes() {
    let (_folder, store, base) = store_with_image();
    store.name_image("base", base).unwrap();
    let mut running = create(&store, "running", base);
    let disk = write(&mut running, 4, 40);
    let before = of(&store, "running").bytes();
    assert!(before > 0);
    let (disks, record) = (running.sound_disks().unwrap().clone(), running.record());
    let frozen = disks.prepare(store.inner()).unwrap().freeze();
    let _lease = frozen.seal(store.inner(), record, true, &()).unwrap();
    disk.write_at(&mut WriteSource::from_slice(&[5; 8192]), 50 << 20)
        .unwrap();
    assert!(of(&store, "running").snapshot_bytes > 0);
    assert_eq!(team(&store), of(&store, "running").bytes());
}
