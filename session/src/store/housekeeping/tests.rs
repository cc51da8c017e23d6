use super::*;
use crate::holding::Holding;
use crate::testing::{record, store_with_image};

#[test]
fn session_keeps_its_snapshot_until_it_is_removed() {
    let (_folder, store, snapshot) = store_with_image();
    let holding = Holding::create(&store, record("kept", snapshot)).unwrap();
    drop(holding);
    let collect = || store.gc(Duration::ZERO).start().wait().unwrap();
    collect();
    assert_eq!(store.resolve("kept").unwrap(), snapshot);
    store.snapshot(&snapshot).unwrap();
    store.remove_session("kept").unwrap();
    assert!(collect().freed_bytes > 0);
    assert!(store.snapshot(&snapshot).unwrap_err().is_not_found());
}

#[test]
fn session_that_was_cut_off_keeps_the_base_of_its_disk() {
    let (_folder, store, snapshot) = store_with_image();
    let mut holding = Holding::create(&store, record("cut", snapshot)).unwrap();
    holding.open_disks().unwrap();
    drop(holding);
    // Even if only the disk knew of it.
    store.inner().remove_name("sessions/cut").unwrap();
    store.gc(Duration::ZERO).start().wait().unwrap();
    let mut again = Holding::take(&store, "cut").unwrap();
    again.open_disks().unwrap();
    let usage = store.usage().start().wait().unwrap();
    assert_eq!(usage.disks[0].id, "cut");
}

#[test]
fn compaction_and_verification_leave_sessions_as_they_are() {
    let (_folder, store, snapshot) = store_with_image();
    drop(Holding::create(&store, record("s", snapshot)).unwrap());
    assert!(store.compact().start().wait().unwrap().is_empty());
    assert_eq!(store.resolve("s").unwrap(), snapshot);
    let verified = store.verify().start().wait().unwrap();
    assert!(verified.faults.is_empty() && verified.snapshots == 1);
}

#[test]
fn disk_can_not_take_the_name_of_a_session() {
    let (folder, store, _) = store_with_image();
    let raw = folder.path().join("raw");
    std::fs::write(&raw, b"disk").unwrap();
    let import = |name| store.import_disk(&raw, Some(name)).start().wait();
    assert!(import("sessions/x").unwrap_err().is_invalid_input());
    let imported = import("raw").unwrap();
    assert_eq!(store.resolve("raw").unwrap(), imported.snapshot);
    let missing = store.import_disk(folder.path().join("none"), None);
    assert!(missing.start().wait().unwrap_err().is_not_found());
}
