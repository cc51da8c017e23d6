//! A host whose disk is full.

use std::path::Path;
use std::process::Command;

use session::{ErrorKind, Session, SessionState, Store};

use super::bed::{env, kernel, noise, patient, sh};

/// A file system of its own, for a store.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn new(folder: &'a Path, megabytes: u32) -> Self {
        let mount = Self(folder);
        mount.run(&["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "store"]);
        mount
    }

    fn grow(&self, megabytes: u32) {
        self.run(&["-o", &format!("remount,size={megabytes}m")]);
    }

    fn run(&self, args: &[&str]) {
        let status = Command::new("mount")
            .args(args)
            .arg(self.0)
            .status()
            .unwrap();
        assert!(status.success(), "this test needs root");
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0).status());
    }
}

#[test]
fn a_full_host_disk_loses_nothing_that_was_synced() {
    let folder = tempfile::tempdir().unwrap();
    let mount = Mount::new(folder.path(), 40);
    let store = Store::open(folder.path().join("store")).unwrap();
    let import = store
        .import(env("VM_TEST_BUSYBOX_IMAGE"))
        .disk_bytes(1 << 30);
    let image = import.start().wait().unwrap().snapshot;
    let builder = Session::from_snapshot(&store, image)
        .id("full")
        .kernel(kernel());
    let session = patient(builder).start().wait().unwrap();
    sh(&session, "echo synced > /synced; sync");
    let flood = session.command("sh").args(["-c", "cat > /flood && sync"]);
    drop(flood.stdin(noise(60 << 20)).output().wait());

    let error = session.shutdown().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
    println!("{error}");
    drop(session);
    assert_eq!(
        store.session("full").unwrap().state,
        SessionState::Interrupted
    );

    mount.grow(400);
    let again = patient(Session::resume(&store, "full"))
        .start()
        .wait()
        .unwrap();
    assert_eq!(sh(&again, "cat /synced"), "synced\n");
    sh(&again, "rm -f /flood; echo more > /more; sync");
    assert!(again.shutdown().wait().unwrap().clean);
}

#[test]
fn an_import_onto_a_full_disk_leaves_nothing_and_can_be_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    // Less than the image takes in chunks.
    let mount = Mount::new(folder.path(), 1);
    let place = folder.path().join("store");
    let store = Store::open(&place).unwrap();
    let import = || store.import(env("VM_TEST_BUSYBOX_IMAGE")).name("box");
    let error = import().start().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
    assert!(store.images().unwrap().is_empty());
    for left in ["blobs/sha256", "staging"] {
        let left: Vec<_> = std::fs::read_dir(place.join(left)).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }

    mount.grow(100);
    import().start().wait().unwrap();
    assert_eq!(store.images().unwrap().len(), 1);
}
