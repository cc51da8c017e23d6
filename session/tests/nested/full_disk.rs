//! A host whose disk is full.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

use session::{Device, ErrorKind, Event, Quotas, Session, SessionState, Store};

use super::bed::{env, kernel, next_news, noise, patient, sh};

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

/// A store that keeps so much room free.
fn store(folder: &Path, host_reserve: u64) -> Store {
    let mut quotas = Quotas::default();
    quotas.host_reserve = host_reserve;
    let store = Store::open(folder.join("store")).unwrap();
    store.with_quotas(quotas)
}

#[test]
fn a_guest_that_fills_the_hosts_disk_is_shut_down_before_a_write_fails() {
    let folder = tempfile::tempdir().unwrap();
    let _mount = Mount::new(folder.path(), 160);
    let store = store(folder.path(), 128 << 20);
    let import = store
        .import(env("VM_TEST_BUSYBOX_IMAGE"))
        .disk_bytes(1 << 30);
    let image = import.start().wait().unwrap().snapshot;
    let (events, told) = mpsc::channel();
    let builder = Session::from_snapshot(&store, image)
        .id("flood")
        .kernel(kernel())
        .on_event(move |event| drop(events.send(event.clone())));
    let session = patient(builder).start().wait().unwrap();
    // What it writes takes room now, and hardly any in a snapshot.
    let flood = session.command("sh").args(["-c", "yes > /flood"]);
    let flood = flood.output();
    let next = || next_news(&told);
    assert!(matches!(next(), Event::HostFull { .. }));
    let end = next();
    assert!(matches!(end, Event::ShutDown { .. }), "{end:?}");
    drop(flood.wait());
    assert_eq!(store.session("flood").unwrap().state, SessionState::Stopped);
}

#[test]
fn a_full_host_disk_loses_nothing_that_was_synced() {
    let folder = tempfile::tempdir().unwrap();
    let mount = Mount::new(folder.path(), 20);
    // Without a reserve nobody sees to it that it does not get that far.
    let store = store(folder.path(), 0);
    let import = store
        .import(env("VM_TEST_BUSYBOX_IMAGE"))
        .disk_bytes(1 << 30);
    let image = import.start().wait().unwrap().snapshot;
    let (events, told) = mpsc::channel();
    let builder = Session::from_snapshot(&store, image)
        .id("full")
        .kernel(kernel())
        .on_event(move |event| drop(events.send(event.clone())));
    let session = patient(builder).start().wait().unwrap();
    sh(&session, "echo synced > /synced; sync");
    let flood = session.command("sh").args(["-c", "cat > /flood && sync"]);
    drop(flood.stdin(noise(24 << 20)).output().wait());
    let event = next_news(&told);
    let of_root = matches!(&event, Event::DiskFailed { device: Device::RootDisk, message } if message.contains("space"));
    assert!(of_root, "{event:?}");

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
