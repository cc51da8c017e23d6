use std::io;

use rootfs_store::{SnapshotDigest, StoreError};
use vmm_core::{BlockBackend, HostCalls, ReadTarget, WriteSource};

use super::*;
use crate::ErrorKind;
use crate::store;
use crate::testing::{record, store_with_image};

const OFFSET: u64 = 48 << 20;

struct Bed {
    _folder: tempfile::TempDir,
    store: Store,
    base: SnapshotDigest,
}

impl Bed {
    fn new() -> Self {
        let (folder, store, base) = store_with_image();
        Self {
            _folder: folder,
            store,
            base,
        }
    }

    fn create(&self, id: &str) -> Result<Holding, Error> {
        Holding::create(&self.store, record(id, self.base))
    }

    fn take(&self, id: &str) -> Holding {
        Holding::take(&self.store, id).unwrap()
    }

    fn take_after(&self, holding: Holding) -> Holding {
        let id = holding.record().id.clone();
        drop(holding);
        self.take(&id)
    }

    fn is_named(&self, id: &str) -> Option<SnapshotDigest> {
        self.store.inner().resolve(&store::reference(id)).ok()
    }

    /// A session that was shut down with `text` on its disk.
    fn stopped(&self, id: &str, text: &[u8; 512]) -> Snapshot {
        let mut holding = self.create(id).unwrap();
        write(&root(&mut holding), *text).unwrap();
        holding.commit(true, &()).unwrap()
    }
}

fn root(holding: &mut Holding) -> Arc<RootDisk> {
    Arc::clone(holding.open_disks().unwrap().root())
}

fn write(disk: &RootDisk, bytes: [u8; 512]) -> io::Result<()> {
    disk.write_at(&mut WriteSource::from_slice(&bytes), OFFSET)
}

fn read(disk: &RootDisk) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    disk.read_at(&mut ReadTarget::from_slice(&mut bytes), OFFSET)
        .unwrap();
    bytes
}

#[test]
fn a_new_session_is_at_rest_until_its_disk_is_open() {
    let bed = Bed::new();
    let mut holding = bed.create("a").unwrap();
    assert_eq!(
        holding.folder().record().unwrap().state,
        RecordState::Stopped
    );
    assert_eq!(bed.is_named("a"), Some(bed.base));
    root(&mut holding);
    assert_eq!(holding.folder().record().unwrap().state, RecordState::Open);
    assert!(holding.folder().record().unwrap().created > 0);
}

#[test]
fn a_disk_that_is_all_here_needs_files_alone() {
    let bed = Bed::new();
    let disk = root(&mut bed.create("a").unwrap());
    assert_eq!(disk.host_calls(), HostCalls::Files);
}

#[test]
fn a_shutdown_names_what_was_written_and_removes_the_disk() {
    let bed = Bed::new();
    let snapshot = bed.stopped("a", &[7; 512]);
    assert_ne!(snapshot.digest, bed.base);
    assert_eq!(snapshot.disk_bytes, 64 << 20);
    assert_eq!(bed.is_named("a"), Some(snapshot.digest));
    assert!(!bed.store.inner().disk_exists("a"));
    let mut again = bed.take("a");
    assert_eq!(again.record().snapshot, snapshot.digest);
    assert_eq!(again.record().origin, bed.base);
    assert_eq!(read(&root(&mut again)), [7; 512]);
}

#[test]
fn a_shutdown_without_a_change_is_the_base() {
    let bed = Bed::new();
    let mut holding = bed.create("a").unwrap();
    root(&mut holding);
    assert_eq!(holding.commit(true, &()).unwrap().digest, bed.base);
}

#[test]
fn what_was_flushed_is_there_after_a_holder_that_vanished() {
    let bed = Bed::new();
    let mut holding = bed.create("a").unwrap();
    let disk = root(&mut holding);
    write(&disk, [7; 512]).unwrap();
    disk.flush().unwrap();
    drop(disk);
    drop(holding);
    let mut again = bed.take("a");
    assert_eq!(again.record().state, RecordState::Open);
    assert_eq!(read(&root(&mut again)), [7; 512]);
}

#[test]
fn a_disk_beside_a_session_at_rest_is_a_leftover() {
    let bed = Bed::new();
    let snapshot = bed.stopped("a", &[7; 512]);
    // As after a process that died between the two steps of a start, or of a shutdown.
    let stale = bed.store.inner().create_disk("a", &bed.base).unwrap();
    stale.write_at(&[9; 512], OFFSET).unwrap();
    drop(stale);
    let mut again = bed.take("a");
    assert_eq!(again.record().snapshot, snapshot.digest);
    assert_eq!(read(&root(&mut again)), [7; 512]);
}

#[test]
fn a_new_session_whose_start_fails_leaves_nothing() {
    let bed = Bed::new();
    let mut holding = bed.create("a").unwrap();
    root(&mut holding);
    holding.give_back();
    assert!(
        folder::look(bed.store.dir(), "a")
            .unwrap_err()
            .is_not_found()
    );
    assert!(!bed.store.inner().disk_exists("a"));
    assert_eq!(bed.is_named("a"), None);
    bed.create("a").unwrap();
}

#[test]
fn a_resumed_session_whose_start_fails_is_as_it_was() {
    let bed = Bed::new();
    let snapshot = bed.stopped("a", &[7; 512]);
    let mut holding = bed.take("a");
    let before = holding.record().clone();
    holding.record_mut().memory_mib = 1;
    let disk = root(&mut holding);
    write(&disk, [9; 512]).unwrap();
    drop(disk);
    holding.give_back();
    assert!(!bed.store.inner().disk_exists("a"));
    assert_eq!(bed.take("a").record(), &before);
    assert_eq!(before.snapshot, snapshot.digest);

    // One that was cut off keeps its disk.
    let mut holding = bed.take("a");
    let disk = root(&mut holding);
    write(&disk, [8; 512]).unwrap();
    disk.flush().unwrap();
    drop((disk, holding));
    let mut holding = bed.take("a");
    let before = holding.record().clone();
    holding.record_mut().vcpus = 9;
    drop(root(&mut holding));
    holding.give_back();
    let mut again = bed.take("a");
    assert_eq!(again.record(), &before);
    assert_eq!(read(&root(&mut again)), [8; 512]);
}

#[test]
fn no_snapshot_is_made_of_a_disk_that_failed_its_guest() {
    let bed = Bed::new();
    let mut holding = bed.create("a").unwrap();
    let disk = root(&mut holding);
    write(&disk, [7; 512]).unwrap();
    disk.flush().unwrap();
    // The one failure that needs no broken host.
    disk.write_at(&mut WriteSource::from_slice(&[9; 512]), 64 << 20)
        .unwrap_err();
    drop(disk);
    let error = holding.commit(true, &()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error.to_string().contains("resume"), "{error}");
    drop(holding);
    let mut again = bed.take("a");
    assert_eq!(read(&root(&mut again)), [7; 512]);
}

#[test]
fn a_discarded_session_is_gone_with_its_disk_and_name() {
    let bed = Bed::new();
    let mut holding = bed.create("a").unwrap();
    drop(root(&mut holding));
    holding.discard().unwrap();
    assert_eq!(folder::ids(bed.store.dir()).unwrap(), Vec::<String>::new());
    assert!(!bed.store.inner().disk_exists("a"));
    assert!(matches!(
        bed.store.inner().remove_name(&store::reference("a")),
        Err(StoreError::NotFound { .. })
    ));
}

#[test]
fn an_id_that_is_taken_keeps_its_session() {
    let bed = Bed::new();
    let snapshot = bed.stopped("a", &[7; 512]);
    assert_eq!(bed.create("a").unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(bed.is_named("a"), Some(snapshot.digest));
    assert_eq!(bed.take("a").record().snapshot, snapshot.digest);
}

#[test]
fn every_step_of_a_removal_may_be_the_last_of_its_process() {
    let bed = Bed::new();
    bed.stopped("a", &[7; 512]);
    let holding = bed.take("a");
    holding.folder().remove_record().unwrap();
    drop(holding);
    let again = crate::Store::open(bed.store.dir()).unwrap();
    assert!(again.sessions().unwrap().is_empty());
    assert_eq!(bed.is_named("a"), None);
    assert_eq!(
        folder::leftovers(bed.store.dir()).unwrap(),
        Vec::<String>::new()
    );
}

/// Makes the next write of a record fail.
fn block(folder: &LockedFolder) -> std::path::PathBuf {
    let place = folder.path().join("record.json.new");
    std::fs::create_dir(&place).unwrap();
    place
}

#[test]
fn a_record_that_could_not_be_written_is_as_it_was() {
    let bed = Bed::new();
    let mut holding = bed.create("a").unwrap();
    write(&root(&mut holding), [7; 512]).unwrap();
    let before = holding.record().clone();
    let blocked = block(holding.folder());
    holding.set_state(RecordState::Paused).unwrap_err();
    assert_eq!(holding.record(), &before);
    holding.commit(true, &()).unwrap_err();
    assert_eq!(holding.record(), &before);
    std::fs::remove_dir(blocked).unwrap();
    let snapshot = holding.commit(true, &()).unwrap();
    assert_eq!(bed.take_after(holding).record().snapshot, snapshot.digest);
}

#[test]
fn a_shutdown_that_is_cut_off_after_a_live_snapshot_leaves_a_session_that_can_be_resumed() {
    let bed = Bed::new();
    // Nothing but the session needs what it begins with.
    bed.stopped("a", &[6; 512]);
    let mut holding = bed.take("a");
    write(&root(&mut holding), [7; 512]).unwrap();
    let disks = holding.sound_disks().unwrap().clone();
    let (inner, record) = (bed.store.inner(), holding.record().clone());
    let frozen = disks.prepare(inner).unwrap().freeze();
    let live = frozen.seal(inner, &record, true, &()).unwrap();
    write(disks.root(), [8; 512]).unwrap();
    // All of the shutdown but the write of the record.
    disks.commit(inner, &mut record.clone(), true, &()).unwrap();
    drop(disks);
    drop(holding);
    inner.gc(std::time::Duration::ZERO, &()).unwrap();
    assert!(inner.snapshot(&record.snapshot).is_err());

    let mut again = bed.take("a");
    again.find_bases().unwrap();
    assert_eq!(again.record().snapshot, live.digest);
    let mut again = bed.take_after(again);
    assert_eq!(read(&root(&mut again)), [8; 512]);
    assert_eq!(again.record().snapshot, live.digest);
    inner.snapshot(&again.record().snapshot).unwrap();
}
