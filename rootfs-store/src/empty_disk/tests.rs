use std::path::Path;
use std::process::Command;

use super::*;

const MIB: u64 = 1 << 20;

fn store(dir: &Path) -> Store {
    Store::open(dir.join("store")).unwrap()
}

/// Fails unless e2fsck has nothing to say of the disk; returns what debugfs prints for a request.
fn look(store: &Store, imported: &Imported, dir: &Path, request: &str) -> String {
    let file = dir.join("exported");
    store.export(&imported.snapshot, &file, &()).unwrap();
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program)
            .args(args)
            .arg(&file)
            .env("LC_ALL", "C")
            .output()
            .expect("e2fsprogs should be installed");
        assert!(output.status.success(), "{program}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let checked = run("e2fsck", &["-fn"]);
    assert!(!checked.to_lowercase().contains("fix"), "{checked}");
    let found = run("debugfs", &["-R", request]);
    std::fs::remove_file(&file).unwrap();
    found
}

#[test]
fn an_empty_disk_is_a_clean_file_system_of_its_size_and_label() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    for (asked, bytes) in [(8 * MIB, 8 * MIB), (100 * MIB + 1, 101 * MIB)] {
        let made = store.empty_disk(asked, "data-1").unwrap();
        assert_eq!(made.disk_bytes, bytes);
        assert_eq!(store.snapshot(&made.snapshot).unwrap().disk_bytes, bytes);
        let stats = look(&store, &made, dir.path(), "stats");
        let label = stats.lines().find(|line| line.contains("volume name"));
        assert!(label.unwrap().ends_with(" data-1"), "{label:?}");
        let listing = look(&store, &made, dir.path(), "ls -p /");
        let names: Vec<_> = listing
            .lines()
            .filter_map(|line| line.split('/').nth(5))
            .collect();
        assert_eq!(names, [".", "..", "lost+found"]);
    }
}

#[test]
fn the_same_size_and_label_are_the_same_snapshot_in_any_store() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (store(one.path()), store(two.path()));
    let first = one.empty_disk(64 * MIB, "data").unwrap();
    assert!(first.stored_bytes < MIB, "{}", first.stored_bytes);
    let second = two.empty_disk(63 * MIB + 1, "data").unwrap();
    assert_eq!(first.snapshot, second.snapshot);
    assert_eq!(one.empty_disk(64 * MIB, "data").unwrap().stored_bytes, 0);
    let other = one.empty_disk(64 * MIB, "other").unwrap();
    assert_ne!(other.snapshot, first.snapshot);
}

#[test]
fn an_empty_disk_can_be_written_and_committed() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let made = store.empty_disk(32 * MIB, "data").unwrap();
    let disk = store.create_disk("d", &made.snapshot).unwrap();
    disk.write_at(&[7; 4096], 31 * MIB).unwrap();
    let committed = store.commit(&disk, &()).unwrap();
    assert_eq!(committed.changed_chunks, 1);
    let parent = store.snapshot(&committed.snapshot).unwrap().parent;
    assert_eq!(parent, Some(made.snapshot));
}

#[test]
fn sizes_and_labels_that_no_disk_can_have_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    for bytes in [0, MAX_DISK_BYTES + 1, u64::MAX] {
        let refused = store.empty_disk(bytes, "data").unwrap_err();
        assert!(
            matches!(refused, EmptyDiskError::DiskSize { disk_bytes } if disk_bytes == bytes),
            "{refused:?}"
        );
    }
    for label in ["", "seventeen-letters", "a b", "a/b", "ä"] {
        let refused = store.empty_disk(MIB, label).unwrap_err();
        assert!(matches!(refused, EmptyDiskError::Label { .. }), "{label:?}");
    }
    let small = store.empty_disk(1, "data").unwrap_err();
    assert!(
        matches!(
            small,
            EmptyDiskError::Layout(LayoutError::DiskTooSmall { .. })
        ),
        "{small:?}"
    );
}
