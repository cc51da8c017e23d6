//! What a caller knows of a store, and whether a store that was cut off agrees.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rootfs_store::{BlobDigest, SnapshotDigest, Store, WritableDisk};

use super::log::Step;

/// The part of a disk that tests write to and compare: where it begins, and its size.
pub(crate) const REGION: u64 = 12 << 20;
pub(crate) const REGION_BYTES: usize = 64 << 10;
/// What a disk writes as a whole.
const SECTOR: usize = 512;
/// More time than a test takes.
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// One thing that is so.
#[derive(Debug, Clone)]
pub(crate) enum Fact {
    /// The name means this snapshot, or nothing.
    Name(&'static str, Option<SnapshotDigest>),
    /// The region of this snapshot.
    Snapshot(SnapshotDigest, Vec<u8>),
    /// The region of this writable disk; nothing if there is no disk.
    Disk(&'static str, Option<Vec<u8>>),
    /// The process has a lease on this snapshot, which was made just now, and has no name for it.
    Held(Option<SnapshotDigest>),
    /// These blobs are damaged or missing, and in this folder there is a second copy.
    Broken(Vec<BlobDigest>, PathBuf),
}

/// What may be so after a cut: what was reported last, and what was asked for since.
#[derive(Clone, Default)]
pub(crate) struct Expected {
    names: BTreeMap<&'static str, Vec<Option<SnapshotDigest>>>,
    disks: BTreeMap<&'static str, Vec<Option<Vec<u8>>>>,
    held: Vec<Option<SnapshotDigest>>,
    broken: Vec<(Vec<BlobDigest>, PathBuf)>,
    /// Never changes, so it is known for the whole run.
    snapshots: BTreeMap<SnapshotDigest, Vec<u8>>,
}

impl Expected {
    /// Begins a run whose snapshots are all known.
    pub(crate) fn of(steps: &[Step]) -> Self {
        let mut expected = Self::default();
        for step in steps {
            if let Step::Begun(Fact::Snapshot(digest, region))
            | Step::Done(Fact::Snapshot(digest, region)) = step
            {
                expected.snapshots.insert(*digest, region.clone());
            }
        }
        expected
    }

    /// Whether a disk is there, or began to be made.
    pub(crate) fn has_disk(&self) -> bool {
        !self.disks.is_empty()
    }

    pub(crate) fn follow(&mut self, step: &Step) {
        let (fact, done) = match step {
            Step::Begun(fact) => (fact, false),
            Step::Done(fact) => (fact, true),
            _ => return,
        };
        match fact {
            Fact::Name(name, digest) => {
                let may = self.names.entry(name).or_insert_with(|| vec![None]);
                add(may, *digest, done);
            }
            Fact::Disk(id, region) => {
                let may = self.disks.entry(id).or_insert_with(|| vec![None]);
                add(may, region.clone(), done);
            }
            Fact::Held(digest) => add(&mut self.held, *digest, done),
            Fact::Broken(blobs, copy) => {
                add(&mut self.broken, (blobs.clone(), copy.clone()), done);
            }
            Fact::Snapshot(..) => {}
        }
    }

    /// Fails unless the store is as it may be, and all that it names is whole.
    pub(crate) fn check(&self, store: &Store, scratch: &Path) {
        self.check_repair(store);
        let verified = store.verify(&()).unwrap();
        assert!(verified.faults.is_empty(), "{:?}", verified.faults);
        let names: BTreeMap<_, _> = store
            .names()
            .unwrap()
            .into_iter()
            .map(|named| (named.name, named.digest))
            .collect();
        for (name, may) in &self.names {
            let found = names.get(*name).copied();
            assert!(
                may.contains(&found),
                "`{name}` is {found:?}, not one of {may:?}"
            );
        }
        let whole: BTreeSet<_> = names.values().collect();
        for digest in whole {
            let region = exported_region(store, digest, scratch);
            assert!(region == self.snapshots[digest], "{digest} has changed");
        }
        for (id, may) in &self.disks {
            self.check_disk(store, id, may);
        }
    }

    /// What is broken can still be mended, even after a collection; nothing else is broken.
    fn check_repair(&self, store: &Store) {
        let broken: Vec<_> = self.broken.iter().flat_map(|(blobs, _)| blobs).collect();
        let Some((_, copy)) = self.broken.first().filter(|_| !broken.is_empty()) else {
            return;
        };
        for fault in store.verify(&()).unwrap().faults {
            let digest = fault.digest.as_ref();
            assert!(digest.is_some_and(|it| broken.contains(&it)), "{fault}");
        }
        // It may say that it can't tell what is needed.
        store.gc(Duration::ZERO, &()).ok();
        let repaired = store.repair(&copy.as_path().into(), &()).unwrap();
        assert!(repaired.lost.is_empty(), "{:?}", repaired.lost);
    }

    /// Fails unless the snapshot that a process held when it died is whole, and stays so for the time of grace.
    pub(crate) fn check_held(&self, store: &Store, scratch: &Path) {
        let [Some(digest)] = self.held[..] else {
            return;
        };
        let parent = store.snapshot(&digest).unwrap().parent.unwrap();
        let packs = store.snapshot(&parent).unwrap().packs;
        for blob in packs.iter().map(|pack| pack.digest).chain([parent.into()]) {
            let file = File::open(blob_path(store, &blob)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        store.gc(GRACE, &()).unwrap();
        self.check(store, scratch);
        let region = exported_region(store, &digest, scratch);
        assert!(region == self.snapshots[&digest], "{digest} has changed");
    }

    fn check_disk(&self, store: &Store, id: &str, may: &[Option<Vec<u8>>]) {
        if !store.disk_exists(id) {
            assert!(may.contains(&None), "disk `{id}` is gone");
            return;
        }
        let disk = store.open_disk(id).unwrap();
        let found = region(&disk);
        // A sector is what it was at the last flush, or what it was made later.
        for (number, sector) in found.chunks(SECTOR).enumerate() {
            let range = number * SECTOR..(number + 1) * SECTOR;
            let allowed = may
                .iter()
                .flatten()
                .any(|may| may[range.clone()] == *sector);
            assert!(allowed, "sector {number} of disk `{id}` is {}", sector[0]);
        }
    }
}

fn add<T>(may: &mut Vec<T>, now: T, done: bool) {
    if done {
        may.clear();
    }
    may.push(now);
}

/// Where a store has a blob.
pub(crate) fn blob_path(store: &Store, digest: &BlobDigest) -> PathBuf {
    let digest = digest.to_string();
    store.dir().join("blobs/sha256").join(&digest[7..])
}

/// The region of a disk.
pub(crate) fn region(disk: &WritableDisk) -> Vec<u8> {
    let mut bytes = vec![0; REGION_BYTES];
    disk.read_at(&mut bytes, REGION).unwrap();
    bytes
}

/// Reads a whole snapshot, which verifies all of its chunks, and returns its region.
pub(crate) fn exported_region(store: &Store, digest: &SnapshotDigest, scratch: &Path) -> Vec<u8> {
    let path = scratch.join("exported");
    store.export(digest, &path, &()).unwrap();
    let mut bytes = vec![0; REGION_BYTES];
    let file = File::open(&path).unwrap();
    file.read_exact_at(&mut bytes, REGION).unwrap();
    std::fs::remove_file(path).unwrap();
    bytes
}
