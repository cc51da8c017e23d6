//! Collections beside other tools, other processes, and everything that a store is used for.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rootfs_store::{ImageReference, ImportOptions, Root, Store};

use crate::sample_image::{self, Sample};

/// Names the store that a child process shall collect in.
const CHILD: &str = "HOUSEKEEPING_STORE";
/// A file in the store's folder that tells the child to stop.
const STOP: &str = "stop";

fn collect(store: &Store) -> rootfs_store::Collected {
    store.gc(Duration::ZERO, &()).unwrap()
}

fn options() -> ImportOptions {
    ImportOptions {
        disk_bytes: Some(16 << 20),
        ..ImportOptions::default()
    }
}

fn image(dir: &Path, note: &str) -> ImageReference {
    let sample = Sample {
        note,
        ..Sample::default()
    };
    sample_image::write(dir, &sample)
}

#[test]
fn image_that_another_tool_copied_into_the_store_is_kept_whole() {
    let dir = tempfile::tempdir().unwrap();
    let reference = image(&dir.path().join("image"), "theirs");
    let store = Store::open(dir.path().join("store")).unwrap();
    let imported = store.import(&reference, &options(), &()).unwrap();
    let theirs = format!("oci:{}:theirs", store.dir().display());
    let skopeo = |args: &[&str]| {
        let output = Command::new("skopeo").args(args).output();
        let output = output.expect("skopeo should be installed");
        assert!(output.status.success(), "{output:?}");
    };
    skopeo(&["copy", &reference.to_string(), &theirs]);
    drop(imported);
    let collected = collect(&store);
    // The import had no name: its pack and its two documents are gone.
    assert_eq!(collected.removed_blobs, 3);
    skopeo(&["inspect", &theirs]);
    let copy = format!("oci:{}:copy", dir.path().join("copy").display());
    skopeo(&["copy", &theirs, &copy]);
    let verified = store.verify(&()).unwrap();
    assert!(verified.faults.is_empty(), "{:?}", verified.faults);
    assert_eq!((verified.snapshots, verified.blobs), (0, 4));
    let usage = store.usage().unwrap();
    let other = Root::Other(Some("theirs".to_owned()));
    assert_eq!(usage.snapshots[0].roots, [other]);
    // And it can be imported from where it is.
    let again: ImageReference = theirs.parse().unwrap();
    store.import(&again, &options(), &()).unwrap();
}

#[test]
fn image_whose_disk_was_collected_is_imported_anew() {
    let dir = tempfile::tempdir().unwrap();
    let reference = image(&dir.path().join("image"), "again");
    let store = Store::open(dir.path().join("store")).unwrap();
    let first = store.import(&reference, &options(), &()).unwrap();
    let snapshot = first.snapshot;
    collect(&store);
    store.snapshot(&snapshot).unwrap();
    drop(first);
    collect(&store);
    store.snapshot(&snapshot).unwrap_err();
    let second = store.import(&reference, &options(), &()).unwrap();
    assert_eq!(second.snapshot, snapshot);
    assert!(second.new_bytes > 0);
    store.snapshot(&snapshot).unwrap();
}

/// What the child process of the next test does; nothing in a usual run.
#[test]
fn child_collects_until_it_is_told_to_stop() {
    let Some(root) = std::env::var_os(CHILD) else {
        return;
    };
    let store = Store::open(&root).unwrap();
    let stop = Path::new(&root).join(STOP);
    let mut removed = 0;
    while !stop.exists() {
        removed += collect(&store).removed_blobs;
    }
    assert!(removed > 0, "nothing was ever removed");
}

fn collecting_process(root: &Path) -> Child {
    let name = "housekeeping::child_collects_until_it_is_told_to_stop";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(CHILD, root)
        .stdout(Stdio::null())
        .spawn();
    child.unwrap()
}

#[test]
fn nothing_in_use_is_lost_to_another_process_that_collects_all_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    Store::open(&root).unwrap();
    let mut child = collecting_process(&root);
    let images: Vec<_> = (0..2)
        .map(|n| image(&dir.path().join(format!("image{n}")), &format!("note {n}")))
        .collect();
    thread::scope(|scope| {
        for n in 0..2 {
            let (root, images, scratch) = (&root, &images, dir.path());
            scope.spawn(move || use_a_store(root, images, scratch, n));
        }
    });
    fs::write(root.join(STOP), "").unwrap();
    assert!(child.wait().unwrap().success());
    let store = Store::open(&root).unwrap();
    collect(&store);
    let verified = store.verify(&()).unwrap();
    assert!(verified.faults.is_empty(), "{:?}", verified.faults);
    assert_eq!(verified.snapshots, 2);
}

/// Imports, writes, commits live and at rest, names, exports and forgets.
fn use_a_store(root: &Path, images: &[ImageReference], scratch: &Path, n: usize) {
    const FREE: u64 = 12 << 20;
    let store = Store::open(root).unwrap();
    let (id, name) = (format!("d{n}"), format!("n{n}"));
    for round in 0..6u8 {
        let reference = &images[usize::from(round) % images.len()];
        let round = round + u8::try_from(n).unwrap() * 10;
        let imported = store.import(reference, &options(), &()).unwrap();
        let disk = store.create_disk(&id, &imported.snapshot).unwrap();
        drop(imported);
        disk.write_at(&[round + 1; 70_000], FREE).unwrap();
        let live = store.commit_live(&disk, &()).unwrap();
        store.set_name("live", &live.snapshot).unwrap();
        drop(live);
        disk.write_at(&[round + 101; 5000], FREE).unwrap();
        let committed = store.commit(&disk, &()).unwrap();
        drop(disk);
        store.remove_disk(&id).unwrap();
        store.set_name(&name, &committed.snapshot).unwrap();
        drop(committed);
        let file = scratch.join(format!("export{n}-{round}"));
        let named = store.resolve(&name).unwrap();
        store.export(&named, &file, &()).unwrap();
        let bytes = fs::read(&file).unwrap();
        let free = usize::try_from(FREE).unwrap();
        assert_eq!(bytes[free..free + 5000], [round + 101; 5000]);
        assert_eq!(bytes[free + 5000..free + 70_000], [round + 1; 65_000]);
        fs::remove_file(file).unwrap();
    }
    store.remove_name("live").ok();
}
