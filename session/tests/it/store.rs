//! The store's face: names, lookups, and what processes leave behind.

use session::{ErrorKind, Store};

use super::image;

#[test]
fn images_are_named_found_and_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    image::write(&folder.path().join("image"));
    let reference = format!("oci:{}", folder.path().join("image").display());
    let store = Store::open(folder.path().join("store")).unwrap();
    let import = store.import(&reference).name("tiny").disk_bytes(64 << 20);
    let imported = import.start().wait().unwrap();
    assert_eq!(imported.disk_bytes, 64 << 20);
    assert_eq!(store.resolve("tiny").unwrap(), imported.snapshot);
    assert_eq!(
        store.resolve(&imported.snapshot.to_string()).unwrap(),
        imported.snapshot
    );
    let described = store.snapshot(&imported.snapshot).unwrap();
    assert_eq!(described.machine.env, ["FROM=image"]);
    assert_eq!(store.images().unwrap().len(), 1);
    store.remove_image("tiny").unwrap();
    assert!(store.remove_image("tiny").unwrap_err().is_not_found());
    assert!(store.resolve("tiny").unwrap_err().is_not_found());
}

#[test]
fn the_names_of_sessions_are_out_of_reach() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let import = store.import("oci:/nowhere").name("sessions/x").start();
    assert_eq!(import.wait().unwrap_err().kind(), ErrorKind::InvalidInput);
    let removed = store.remove_image("sessions/x").unwrap_err();
    assert_eq!(removed.kind(), ErrorKind::InvalidInput);
}

#[test]
fn what_a_dead_process_left_of_a_session_is_cleared_away() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path()).unwrap());
    let half = folder.path().join("sessions/half");
    std::fs::create_dir_all(&half).unwrap();
    std::fs::write(half.join("lock"), "").unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert!(!half.exists());
    assert!(store.sessions().unwrap().is_empty());
}

#[test]
fn a_disk_is_exported_once() {
    let folder = tempfile::tempdir().unwrap();
    image::write(&folder.path().join("image"));
    let reference = format!("oci:{}", folder.path().join("image").display());
    let store = Store::open(folder.path().join("store")).unwrap();
    let import = store.import(&reference).disk_bytes(64 << 20).start();
    let snapshot = import.wait().unwrap().snapshot;
    let file = folder.path().join("disk.raw");
    let exported = store.export(snapshot, &file).start().wait().unwrap();
    assert_eq!(exported.disk_bytes, 64 << 20);
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 64 << 20);
    let again = store.export(snapshot, &file).start().wait().unwrap_err();
    assert_eq!(again.kind(), ErrorKind::InvalidInput, "{again}");
    // An independent judge: no output, no complaint.
    let check = std::process::Command::new("e2fsck")
        .arg("-fn")
        .arg(&file)
        .output()
        .unwrap();
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stdout)
    );
}
