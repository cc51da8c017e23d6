use rootfs_store::SnapshotDigest;
use vmm_core::{BlockBackend, ReadTarget, WriteSource};

use super::*;
use crate::drive::DriveRecord;
use crate::folder;
use crate::holding::Holding;
use crate::record::RecordState;
use crate::testing::{record, store_with_image};

const MIB: u64 = 1 << 20;
const OFFSET: u64 = 24 * MIB;
const NONE: &[String] = &[];

struct Bed {
    _folder: tempfile::TempDir,
    store: crate::Store,
    image: SnapshotDigest,
    empty: SnapshotDigest,
}

impl Bed {
    fn new() -> Self {
        let (folder, store, image) = store_with_image();
        let empty = store.inner().empty_disk(32 * MIB, "data").unwrap().snapshot;
        Self {
            _folder: folder,
            store,
            image,
            empty,
        }
    }

    fn inner(&self) -> &Store {
        self.store.inner()
    }

    fn drive(name: &str, snapshot: SnapshotDigest, read_only: bool) -> DriveRecord {
        DriveRecord {
            name: name.into(),
            snapshot,
            origin: snapshot,
            read_only,
            mount: None,
        }
    }

    fn record(&self, id: &str) -> Record {
        let drives = vec![
            Self::drive("data", self.empty, false),
            Self::drive("tools", self.image, true),
        ];
        Record {
            drives,
            ..record(id, self.image)
        }
    }

    fn create(&self, id: &str) -> Holding {
        Holding::create(&self.store, self.record(id)).unwrap()
    }

    fn take(&self, id: &str) -> Holding {
        Holding::take(&self.store, id).unwrap()
    }

    /// The names of all snapshots and disks of sessions.
    fn left(&self) -> (Vec<String>, Vec<String>) {
        let names = self.inner().names().unwrap().into_iter();
        let names = names.map(|named| named.name).collect();
        (names, self.inner().disk_ids().unwrap())
    }
}

fn write(disk: &RootDisk, byte: u8) {
    let bytes = [byte; 512];
    disk.write_at(&mut WriteSource::from_slice(&bytes), OFFSET)
        .unwrap();
}

fn read(disk: &RootDisk) -> u8 {
    let mut bytes = [0; 512];
    let mut target = ReadTarget::from_slice(&mut bytes);
    disk.read_at(&mut target, OFFSET).unwrap();
    bytes[0]
}

fn all(disks: &Disks) -> Vec<u8> {
    disks.all().map(|disk| read(disk)).collect()
}

#[test]
fn a_shutdown_keeps_all_disks_and_a_resume_opens_them() {
    let bed = Bed::new();
    let mut holding = bed.create("a");
    let disks = holding.open_disks().unwrap();
    write(disks.root(), 1);
    write(&disks.drives()[0], 2);
    let tools = read(&disks.drives()[1]);
    assert_eq!(bed.left().1, ["a", "a@data", "a@tools"]);
    let snapshot = holding.commit(true, &()).unwrap();
    let (names, open) = bed.left();
    assert_eq!(names, ["sessions/a", "sessions/a/data", "sessions/a/tools"]);
    assert_eq!(open, NONE);
    let [data, unchanged] = snapshot.drives.as_slice() else {
        panic!("{snapshot:?}");
    };
    assert_eq!((data.name.as_str(), data.disk_bytes), ("data", 32 * MIB));
    assert_ne!(data.digest, bed.empty);
    assert_eq!((unchanged.digest, unchanged.new_bytes), (bed.image, 0));
    drop(holding);

    let mut again = bed.take("a");
    assert_eq!(again.record().drives[0].snapshot, data.digest);
    assert_eq!(again.record().drives[0].origin, bed.empty);
    assert_eq!(all(again.open_disks().unwrap()), [1, 2, tools]);
}

#[test]
fn each_drive_is_clean_by_its_own_word() {
    let bed = Bed::new();
    let mut holding = bed.create("a");
    let disks = holding.open_disks().unwrap().clone();
    let words = |snapshot: &Snapshot| -> Vec<bool> {
        snapshot.drives.iter().map(|drive| drive.clean).collect()
    };
    let live = |disks: &Disks, record: &Record| {
        let frozen = disks.prepare(bed.inner()).unwrap().freeze();
        words(&frozen.seal(bed.inner(), record, true, &()).unwrap())
    };
    assert_eq!(live(&disks, holding.record()), [true, true]);
    // As the kernel does when it mounts it for writing: `s_feature_incompat` says that the journal is in use.
    let mut sector = [0; 512];
    let mut target = ReadTarget::from_slice(&mut sector);
    let data = &disks.drives()[0];
    data.read_at(&mut target, 1024).unwrap();
    sector[0x60] |= 0x4;
    data.write_at(&mut WriteSource::from_slice(&sector), 1024)
        .unwrap();
    assert_eq!(live(&disks, holding.record()), [false, true]);
    drop(disks);
    assert_eq!(words(&holding.commit(true, &()).unwrap()), [false, true]);
}

#[test]
fn what_was_flushed_to_any_disk_is_there_after_a_holder_that_vanished() {
    let bed = Bed::new();
    let mut holding = bed.create("a");
    let disks = holding.open_disks().unwrap();
    for (disk, byte) in disks.all().zip([1, 2, 3]) {
        write(disk, byte);
        disk.flush().unwrap();
    }
    drop(holding);
    let mut again = bed.take("a");
    assert_eq!(again.record().state, RecordState::Open);
    assert_eq!(all(again.open_disks().unwrap()), [1, 2, 3]);
}

#[test]
fn a_process_that_dies_while_it_opens_disks_leaves_a_session_at_rest() {
    let bed = Bed::new();
    drop(bed.create("a"));
    // The first disks are there, written to by nobody who counts, and the record does not know of them.
    for id in ["a", "a@data"] {
        let stale = bed.inner().create_disk(id, &bed.image).unwrap();
        stale.write_at(&[9; 512], OFFSET).unwrap();
    }
    let mut holding = bed.take("a");
    assert_eq!(holding.record().state, RecordState::Stopped);
    let disks = holding.open_disks().unwrap();
    assert_eq!(read(&disks.drives()[0]), 0);
    assert_ne!(read(disks.root()), 9);
}

#[test]
fn a_process_that_dies_while_it_names_snapshots_leaves_all_disks() {
    let bed = Bed::new();
    let mut holding = bed.create("a");
    let mut record = bed.record("a");
    let disks = holding.open_disks().unwrap();
    write(disks.root(), 1);
    write(&disks.drives()[0], 2);
    // Everything but the record is done, and the process is gone.
    let lost = disks.commit(bed.inner(), &mut record, true, &()).unwrap();
    drop(holding);
    let mut again = bed.take("a");
    assert_eq!(again.record().state, RecordState::Open);
    let disks = again.open_disks().unwrap();
    assert_eq!(all(disks)[..2], [1, 2]);
    let snapshot = again.commit(true, &()).unwrap();
    // A boot profile is kept in memory only, so the root is another snapshot of the same bytes.
    assert_ne!(snapshot.digest, bed.image);
    assert_eq!(snapshot.drives[0].digest, lost.drives[0].digest);
}

#[test]
fn no_snapshot_is_made_of_any_disk_if_one_failed_its_guest() {
    let bed = Bed::new();
    let mut holding = bed.create("a");
    let disks = holding.open_disks().unwrap();
    write(disks.root(), 1);
    let past = [9; 512];
    disks.drives()[0]
        .write_at(&mut WriteSource::from_slice(&past), 32 * MIB)
        .unwrap_err();
    let error = holding.commit(true, &()).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Storage);
    assert_eq!(bed.inner().resolve("sessions/a").unwrap(), bed.image);
    assert_eq!(bed.left().1, ["a", "a@data", "a@tools"]);
}

#[test]
fn a_start_that_fails_leaves_nothing_of_a_new_session_and_a_resumed_one_as_it_was() {
    let bed = Bed::new();
    let mut holding = bed.create("a");
    holding.open_disks().unwrap();
    holding.give_back();
    assert_eq!(bed.left(), (Vec::new(), Vec::new()));

    let mut holding = bed.create("a");
    write(&holding.open_disks().unwrap().drives()[0], 2);
    holding.commit(true, &()).unwrap();
    let before = holding.record().clone();
    drop(holding);
    let mut holding = bed.take("a");
    write(&holding.open_disks().unwrap().drives()[0], 7);
    holding.give_back();
    assert_eq!(bed.left().1, NONE);
    let mut again = bed.take("a");
    assert_eq!(again.record(), &before);
    assert_eq!(read(&again.open_disks().unwrap().drives()[0]), 2);
}

#[test]
fn a_session_that_goes_takes_its_drives_along_and_nobody_elses() {
    let bed = Bed::new();
    // Each looks like a part of another.
    for id in ["a", "a.b", "ab", "a-data"] {
        bed.create(id).open_disks().unwrap();
    }
    let (names, open) = bed.left();
    assert_eq!((names.len(), open.len()), (12, 12));
    bed.store.remove_session("a").unwrap();
    let (names, open) = bed.left();
    assert_eq!((names.len(), open.len()), (9, 9));
    assert!(!names.iter().any(|name| name.starts_with("sessions/a/")));
    assert!(!open.iter().any(|id| id == "a" || id.starts_with("a@")));
}

#[test]
fn what_is_left_of_a_removal_is_cleared_when_the_store_is_opened() {
    let bed = Bed::new();
    let mut holding = bed.create("a");
    holding.open_disks().unwrap();
    holding.folder().remove_record().unwrap();
    drop(holding);
    let again = crate::Store::open(bed.store.dir()).unwrap();
    assert!(again.sessions().unwrap().is_empty());
    assert_eq!(bed.left(), (Vec::new(), Vec::new()));
    assert_eq!(folder::leftovers(bed.store.dir()).unwrap(), NONE);
}

#[test]
fn a_collection_keeps_what_drives_need() {
    let bed = Bed::new();
    let mut holding = bed.create("a");
    write(&holding.open_disks().unwrap().drives()[0], 2);
    bed.inner().gc(std::time::Duration::ZERO, &()).unwrap();
    holding.commit(true, &()).unwrap();
    drop(holding);
    bed.inner().gc(std::time::Duration::ZERO, &()).unwrap();
    let mut again = bed.take("a");
    let disks = again.open_disks().unwrap();
    assert_eq!(read(&disks.drives()[0]), 2);
    let listed = bed.store.session("a").unwrap().drives;
    assert_eq!(listed.len(), 2);
    assert_eq!(
        (listed[0].name.as_str(), listed[1].read_only),
        ("data", true)
    );
}
