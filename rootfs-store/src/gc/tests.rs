use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::disk::WritableDisk;
use crate::leases::Lease;
use crate::testing::snapshot_of;

const HOUR: Duration = Duration::from_secs(3600);
const DISK: usize = 256 << 10;

fn set_age(store: &Store, age: Duration) {
    for blob in store.blobs().list().unwrap() {
        let file = fs::File::open(store.blobs().path(&blob.digest)).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }
}

fn gc(store: &Store) -> Collected {
    store.gc(Duration::ZERO, &()).unwrap()
}

/// All bytes of a snapshot, by way of a disk that is gone afterwards.
fn bytes(store: &Store, snapshot: &SnapshotDigest) -> Vec<u8> {
    let disk = store.create_disk("reader", snapshot).unwrap();
    let bytes = content(&disk);
    drop(disk);
    store.remove_disk("reader").unwrap();
    bytes
}

fn content(disk: &WritableDisk) -> Vec<u8> {
    let mut bytes = vec![1; DISK];
    disk.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn count(store: &Store) -> usize {
    store.blobs().list().unwrap().len()
}

#[test]
fn only_what_nothing_leads_to_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let kept = snapshot_of(&store, &[1; DISK]);
    store.set_name("kept", &kept).unwrap();
    let before = count(&store);
    let dropped = snapshot_of(&store, &[2; DISK]);
    let theirs = dir.path().join("blobs/sha256/README");
    fs::write(&theirs, "no blob").unwrap();
    let collected = gc(&store);
    assert_eq!(
        (collected.removed_blobs, collected.kept_blobs),
        (3, before as u64)
    );
    assert!(collected.freed_bytes > 0 && collected.kept_bytes > 0);
    assert_eq!(collected.spared_blobs, 0);
    assert_eq!(count(&store), before);
    assert!(store.snapshot(&dropped).is_err() && theirs.exists());
    assert_eq!(bytes(&store, &kept), [1; DISK]);
    store.remove_name("kept").unwrap();
    gc(&store);
    assert_eq!(count(&store), 0);
}

#[test]
fn what_is_younger_than_the_grace_period_is_spared() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    snapshot_of(&store, &[1; DISK]);
    let collected = store.gc(HOUR, &()).unwrap();
    assert_eq!((collected.spared_blobs, collected.removed_blobs), (3, 0));
    assert!(collected.spared_bytes > 0);
    set_age(&store, 2 * HOUR);
    assert_eq!(store.gc(HOUR, &()).unwrap().removed_blobs, 3);
}

#[test]
fn leased_snapshot_stays_with_all_that_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let snapshot = snapshot_of(&store, &[1; DISK]);
    let lease = store.keep(&snapshot).unwrap();
    let other = Store::open(dir.path()).unwrap();
    assert_eq!(gc(&other).kept_blobs, 3);
    drop(lease);
    assert_eq!(gc(&other).removed_blobs, 3);
    assert!(store.keep(&snapshot).is_err());
}

#[test]
fn disk_keeps_its_base_and_a_commit_its_result_without_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let base = snapshot_of(&store, &[1; DISK]);
    let disk = store.create_disk("d", &base).unwrap();
    gc(&store);
    disk.write_at(&[9; 4096], 0).unwrap();
    let committed = store.commit(&disk, &()).unwrap();
    drop(disk);
    store.remove_disk("d").unwrap();
    gc(&store);
    store.set_name("child", &committed.snapshot).unwrap();
    drop(committed);
    gc(&store);
    // The base's own documents are gone, its pack is not.
    assert!(store.snapshot(&base).is_err());
    let child = store.resolve("child").unwrap();
    let mut expected = vec![1; DISK];
    expected[..4096].fill(9);
    assert_eq!(bytes(&store, &child), expected);
}

#[test]
fn imported_snapshot_without_a_name_stays_for_the_grace_period() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let snapshot = snapshot_of(&store, &[1; DISK]);
    let references = &store.inner.references;
    references.set_imported("image", snapshot, 1).unwrap();
    set_age(&store, 2 * HOUR);
    store.blobs().touch(&snapshot.into());
    assert_eq!(store.gc(HOUR, &()).unwrap().kept_blobs, 3);
    set_age(&store, 2 * HOUR);
    assert_eq!(store.gc(HOUR, &()).unwrap().removed_blobs, 3);
    assert_eq!(references.imported("image").unwrap(), None);
}

#[test]
fn damaged_manifest_stops_a_collection_before_anything_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let snapshot = snapshot_of(&store, &[1; DISK]);
    store.set_name("web", &snapshot).unwrap();
    snapshot_of(&store, &[2; DISK]);
    let path = store.blobs().path(&snapshot.into());
    fs::remove_file(&path).unwrap();
    fs::write(&path, "{}").unwrap();
    let before = count(&store);
    assert!(store.gc(Duration::ZERO, &()).is_err());
    assert_eq!(count(&store), before);
}

#[test]
fn space_of_a_removed_pack_is_not_held_by_this_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let snapshot = snapshot_of(&store, &[1; DISK]);
    bytes(&store, &snapshot);
    gc(&store);
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let blobs = dir.path().canonicalize().unwrap().join("blobs");
    for file in open {
        let target = fs::read_link(file.unwrap().path()).unwrap_or_default();
        assert!(!target.starts_with(&blobs), "{}", target.display());
    }
}

/// Collects all the time while threads commit, name, read and forget, each through a store of its own.
#[test]
fn nothing_in_use_is_lost_to_collections_that_never_pause() {
    let dir = tempfile::tempdir().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let store = Store::open(dir.path()).unwrap();
            let mut removed = 0;
            while !done.load(Ordering::Relaxed) {
                removed += gc(&store).removed_blobs;
            }
            removed
        });
        let workers: Vec<_> = (0..3)
            .map(|n| {
                let dir = dir.path();
                scope.spawn(move || work(dir, n))
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        assert!(collector.join().unwrap() > 0);
    });
}

fn work(dir: &Path, seed: u8) {
    let store = Store::open(dir).unwrap();
    for round in 0..12u8 {
        let (lease, base) = leased_snapshot(&store, round % 3);
        let id = format!("d{seed}");
        let disk = store.create_disk(&id, &base).unwrap();
        drop(lease);
        disk.write_at(&[seed + 100; 4096], 4096).unwrap();
        let committed = store.commit(&disk, &()).unwrap();
        let name = format!("n{seed}");
        store.set_name(&name, &committed.snapshot).unwrap();
        drop(disk);
        store.remove_disk(&id).unwrap();
        drop(committed);
        let found = store.resolve(&name).unwrap();
        let again = store.create_disk(&id, &found).unwrap();
        let mut expected = vec![round % 3 + 1; DISK];
        expected[4096..8192].fill(seed + 100);
        assert_eq!(content(&again), expected);
        drop(again);
        store.remove_disk(&id).unwrap();
        store.remove_name(&name).unwrap();
    }
}

/// The same snapshot as other threads make, so that they meet blobs that are there already.
fn leased_snapshot(store: &Store, seed: u8) -> (Lease, SnapshotDigest) {
    loop {
        let snapshot = snapshot_of(store, &[seed + 1; DISK]);
        // It may be collected before it is leased, but not after.
        if let Ok(lease) = store.keep(&snapshot) {
            return (lease, snapshot);
        }
    }
}

#[derive(Debug, Clone)]
enum Action {
    Make(u8),
    Name(usize, u8),
    Forget(u8),
    Lease(usize),
    LetGo,
    OpenDisk(usize, u8),
    CommitDisk(u8),
    RemoveDisk(u8),
    Import(usize),
    Collect,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let which = 0..8usize;
    let action = prop_oneof![
        3 => (0..6u8).prop_map(Action::Make),
        2 => (which.clone(), 0..3u8).prop_map(|(at, name)| Action::Name(at, name)),
        1 => (0..3u8).prop_map(Action::Forget),
        1 => which.clone().prop_map(Action::Lease),
        1 => Just(Action::LetGo),
        2 => (which.clone(), 0..2u8).prop_map(|(at, id)| Action::OpenDisk(at, id)),
        2 => (0..2u8).prop_map(Action::CommitDisk),
        1 => (0..2u8).prop_map(Action::RemoveDisk),
        1 => which.prop_map(Action::Import),
        3 => Just(Action::Collect),
    ];
    proptest::collection::vec(action, 1..30)
}

/// What must be there, kept apart from the store: which snapshots something holds.
#[derive(Default)]
struct Model {
    known: Vec<SnapshotDigest>,
    content: BTreeMap<SnapshotDigest, Vec<u8>>,
    /// Blobs of each snapshot, its documents too.
    blobs: BTreeMap<SnapshotDigest, HashSet<BlobDigest>>,
    names: BTreeMap<u8, SnapshotDigest>,
    leases: Vec<(Lease, Vec<SnapshotDigest>)>,
    disks: BTreeMap<u8, (WritableDisk, SnapshotDigest, Vec<u8>)>,
}

impl Model {
    fn held(&self) -> HashSet<SnapshotDigest> {
        let names = self.names.values();
        let leases = self.leases.iter().flat_map(|(_, digests)| digests);
        let disks = self.disks.values().map(|(_, base, _)| base);
        names.chain(leases).chain(disks).copied().collect()
    }

    fn made(&mut self, store: &Store, digest: SnapshotDigest, content: Vec<u8>) {
        let snapshot = store.snapshot(&digest).unwrap();
        let mut blobs: HashSet<_> = snapshot.packs.iter().map(|pack| pack.digest).collect();
        let manifest = store.blobs().document(&digest.into()).unwrap().unwrap();
        blobs.insert(
            crate::manifest::parse_manifest(&manifest)
                .unwrap()
                .config
                .digest,
        );
        blobs.insert(digest.into());
        self.known.push(digest);
        self.content.insert(digest, content);
        self.blobs.insert(digest, blobs);
    }

    fn pick(&self, store: &Store, at: usize) -> Option<SnapshotDigest> {
        let digest = *self.known.get(at % self.known.len().max(1))?;
        store.snapshot(&digest).is_ok().then_some(digest)
    }

    fn check_after_collection(&self, store: &Store) {
        let needed: HashSet<_> = self
            .held()
            .iter()
            .flat_map(|digest| &self.blobs[digest])
            .copied()
            .collect();
        let found: HashSet<_> = store
            .blobs()
            .list()
            .unwrap()
            .iter()
            .map(|blob| blob.digest)
            .collect();
        assert_eq!(found, needed);
    }

    fn apply(&mut self, store: &Store, action: Action) {
        match action {
            Action::Make(seed) => {
                let mut content = vec![seed; DISK];
                content[DISK / 2..].fill(7);
                let digest = snapshot_of(store, &content);
                self.made(store, digest, content);
            }
            Action::Name(at, name) => {
                if let Some(digest) = self.pick(store, at) {
                    store.set_name(&format!("n{name}"), &digest).unwrap();
                    self.names.insert(name, digest);
                }
            }
            Action::Forget(name) => {
                let removed = store.remove_name(&format!("n{name}"));
                assert_eq!(removed.is_ok(), self.names.remove(&name).is_some());
            }
            Action::Lease(at) => {
                if let Some(digest) = self.pick(store, at) {
                    self.leases
                        .push((store.keep(&digest).unwrap(), vec![digest]));
                }
            }
            Action::LetGo => drop(self.leases.pop()),
            Action::OpenDisk(at, id) => self.open_disk(store, at, id),
            Action::CommitDisk(id) => {
                if let Some((disk, base, content)) = self.disks.get_mut(&id) {
                    disk.write_at(&[id + 50; 4096], 0).unwrap();
                    content[..4096].fill(id + 50);
                    let (base, content) = (*base, content.clone());
                    let committed = store.commit(disk, &()).unwrap();
                    self.made(store, committed.snapshot, content);
                    self.leases
                        .push((committed.lease, vec![base, committed.snapshot]));
                }
            }
            Action::RemoveDisk(id) => {
                self.disks.remove(&id);
                store.remove_disk(&format!("d{id}")).unwrap();
            }
            Action::Import(at) => {
                // An import that is old is no root.
                if let Some(digest) = self.pick(store, at) {
                    store
                        .inner
                        .references
                        .set_imported("image", digest, 1)
                        .unwrap();
                }
            }
            Action::Collect => {
                gc(store);
                self.check_after_collection(store);
            }
        }
    }

    fn open_disk(&mut self, store: &Store, at: usize, id: u8) {
        if self.disks.contains_key(&id) {
            return;
        }
        if let Some(base) = self.pick(store, at) {
            let disk = store.create_disk(&format!("d{id}"), &base).unwrap();
            let content = self.content[&base].clone();
            self.disks.insert(id, (disk, base, content));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn exactly_what_is_held_survives_collections(actions in actions()) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut model = Model::default();
        for action in actions {
            model.apply(&store, action);
        }
        gc(&store);
        model.check_after_collection(&store);
        for (disk, _, expected) in model.disks.values() {
            assert_eq!(&content(disk), expected);
        }
        for digest in model.held() {
            assert_eq!(bytes(&store, &digest), model.content[&digest]);
        }
    }
}
