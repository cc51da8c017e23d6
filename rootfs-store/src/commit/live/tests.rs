use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::digest::SnapshotDigest;
use crate::testing::snapshot_of;

const DISK_BYTES: usize = 1 << 20;
const BLOCK: u64 = 4096;

struct Bed {
    dir: tempfile::TempDir,
    store: Store,
    disk: WritableDisk,
}

impl Bed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let base = snapshot_of(&store, &vec![9; DISK_BYTES]);
        let disk = store.create_disk("d", &base).unwrap();
        Self { dir, store, disk }
    }

    fn write(&self, block: u64, byte: u8) {
        self.disk.write_at(&[byte; 4096], block * BLOCK).unwrap();
    }

    /// The first byte of each of the first blocks of a snapshot.
    fn first_blocks(&self, snapshot: &SnapshotDigest) -> [u8; 4] {
        let copy = self.store.create_disk("copy", snapshot).unwrap();
        let found = first_blocks(&copy);
        drop(copy);
        self.store.remove_disk("copy").unwrap();
        found
    }

    fn files(&self) -> Vec<String> {
        files(self.dir.path())
    }
}

fn first_blocks(disk: &WritableDisk) -> [u8; 4] {
    let mut blocks = vec![0; 4 * 4096];
    disk.read_at(&mut blocks, 0).unwrap();
    std::array::from_fn(|block| blocks[block * 4096])
}

fn files(store: &Path) -> Vec<String> {
    let names = fs::read_dir(store.join("disks/d")).unwrap();
    let mut names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_snapshot_holds_what_was_written_before_the_freeze_and_nothing_later() {
    let bed = Bed::new();
    bed.write(0, 1);
    let prepared = bed.store.prepare_freeze(&bed.disk).unwrap();
    bed.write(1, 2);
    let frozen = prepared.freeze();
    bed.write(1, 7);
    bed.write(2, 8);
    bed.disk.flush().unwrap();
    let committed = bed.store.commit_frozen(frozen, &()).unwrap();
    assert_eq!(bed.first_blocks(&committed.snapshot), [1, 2, 9, 9]);
    assert_eq!(first_blocks(&bed.disk), [1, 7, 8, 9]);
    assert_eq!(bed.disk.base(), committed.snapshot);
    assert_eq!(bed.files(), ["map.1", "overlay.1"]);
    let rest = bed.store.commit(&bed.disk, &()).unwrap();
    assert_eq!(bed.first_blocks(&rest.snapshot), [1, 7, 8, 9]);
}

#[test]
fn what_was_frozen_for_nothing_is_in_the_next_snapshot() {
    let bed = Bed::new();
    bed.write(0, 1);
    drop(bed.store.prepare_freeze(&bed.disk).unwrap().freeze());
    bed.write(1, 2);
    drop(bed.store.prepare_freeze(&bed.disk).unwrap().freeze());
    bed.write(0, 3);
    assert_eq!(first_blocks(&bed.disk), [3, 2, 9, 9]);
    let committed = bed.store.commit_live(&bed.disk, &()).unwrap();
    assert_eq!(bed.first_blocks(&committed.snapshot), [3, 2, 9, 9]);
    assert_eq!(bed.files().len(), 2);
    drop(bed.store.prepare_freeze(&bed.disk).unwrap().freeze());
    bed.write(3, 4);
    let stopped = bed.store.commit(&bed.disk, &()).unwrap();
    assert_eq!(bed.first_blocks(&stopped.snapshot), [3, 2, 9, 4]);
}

#[test]
fn a_disk_that_was_frozen_or_made_ready_opens_with_everything() {
    let Bed { dir, store, disk } = Bed::new();
    disk.write_at(&[1; 4096], 0).unwrap();
    drop(store.prepare_freeze(&disk).unwrap().freeze());
    disk.write_at(&[2; 4096], BLOCK).unwrap();
    drop(store.prepare_freeze(&disk).unwrap());
    disk.write_at(&[3; 4096], 2 * BLOCK).unwrap();
    disk.flush().unwrap();
    drop(disk);
    let disk = store.open_disk("d").unwrap();
    assert_eq!(first_blocks(&disk), [1, 2, 3, 9]);
    let committed = store.commit_live(&disk, &()).unwrap();
    assert_eq!(disk.base(), committed.snapshot);
    assert_eq!(files(dir.path()).len(), 2);
}

#[test]
fn what_was_made_ready_and_not_needed_is_given_back() {
    let bed = Bed::new();
    let base = bed.disk.base();
    let committed = bed.store.commit_live(&bed.disk, &()).unwrap();
    assert_eq!((committed.snapshot, committed.touched_chunks), (base, 0));
    assert_eq!(bed.files(), ["map", "overlay"]);
    // It is needed after all if something is written in the meantime.
    let prepared = bed.store.prepare_freeze(&bed.disk).unwrap();
    bed.write(0, 1);
    let committed = bed.store.commit_frozen(prepared.freeze(), &()).unwrap();
    assert_eq!(bed.first_blocks(&committed.snapshot), [1, 9, 9, 9]);
    assert_eq!(bed.files(), ["map.1", "overlay.1"]);
}

#[test]
fn others_commit_when_what_was_frozen_is_gone() {
    let bed = Bed::new();
    bed.write(0, 1);
    let frozen = bed.store.prepare_freeze(&bed.disk).unwrap().freeze();
    thread::scope(|scope| {
        let other = scope.spawn(|| bed.store.commit(&bed.disk, &()).unwrap().snapshot);
        thread::sleep(Duration::from_millis(50));
        assert!(!other.is_finished());
        drop(frozen);
        let snapshot = other.join().unwrap();
        assert_eq!(bed.first_blocks(&snapshot), [1, 9, 9, 9]);
    });
}

#[test]
fn the_freeze_takes_next_to_nothing_of_what_the_snapshot_of_64_mib_takes() {
    const CHANGED: usize = 64 << 20;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let base = store.empty_disk(256 << 20, "d").unwrap();
    let disk = store.create_disk("d", &base.snapshot).unwrap();
    let block = |number: usize| [u8::try_from(number % 251 + 1).unwrap(); 4096];
    let bytes: Vec<u8> = (0..CHANGED / 4096).flat_map(block).collect();
    disk.write_at(&bytes, 128 << 20).unwrap();
    let prepared = store.prepare_freeze(&disk).unwrap();
    let begun = Instant::now();
    let frozen = prepared.freeze();
    let switch = begun.elapsed();
    let begun = Instant::now();
    let committed = store.commit_frozen(frozen, &()).unwrap();
    let sealing = begun.elapsed();
    println!("switch {switch:?}, sealing {sealing:?}");
    assert!(committed.touched_chunks >= 1024);
    assert!(switch * 50 < sealing, "{switch:?} of {sealing:?}");
}
