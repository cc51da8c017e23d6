use std::sync::atomic::AtomicUsize;
use std::sync::{Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use rootfs_store::Stage;
use tempfile::TempDir;
use vmm_core::{BlockBackend, WriteSource};

use super::*;
use crate::ErrorKind;
use crate::folder;
use crate::holding::Holding;
use crate::op::Op;
use crate::session::Session;
use crate::session::phase::Status;
use crate::testing::{record, store_with_image};
use crate::timings::Timings;

const ID: &str = "a";

/// A session whose guest has ended and whose snapshot has yet to be made: no VM is needed for it.
struct Bed {
    _folder: TempDir,
    store: store::Store,
    session: Session,
}

impl Bed {
    fn new() -> Self {
        let (folder, store, snapshot) = store_with_image();
        let mut holding = Holding::create(store.inner(), record(ID, snapshot)).unwrap();
        let disk = Arc::clone(holding.open_disks().unwrap().root());
        disk.write_at(&mut WriteSource::from_slice(&[7; 512]), 48 << 20)
            .unwrap();
        drop(disk);
        let shared = Arc::new(Shared {
            id: ID.into(),
            store: store.clone(),
            shutdown_timeout: Duration::ZERO,
            phase: Mutex::new(Phase::halted(holding, true)),
            settled: Condvar::new(),
            dooms: AtomicUsize::new(0),
            timings: Mutex::new(Timings::default()),
            disk: std::sync::Weak::new(),
        });
        Self {
            _folder: folder,
            store,
            session: Session { shared },
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.session.shared
    }
}

#[test]
fn an_operation_that_never_runs_leaves_the_session_as_it_was() {
    let bed = Bed::new();
    let turn = Turn::take(bed.shared()).unwrap();
    assert_eq!(bed.session.status(), Status::Ending);
    let late = bed.session.shutdown().wait().unwrap_err();
    assert!(late.to_string().contains("ended already"), "{late}");
    drop(turn);
    assert_eq!(bed.session.status(), Status::Unsaved);
    let snapshot = bed.session.shutdown().wait().unwrap();
    assert_eq!(bed.session.shutdown().wait().unwrap(), snapshot);
}

#[test]
fn an_operation_that_panics_can_be_made_again() {
    let bed = Bed::new();
    let turn = Turn::take(bed.shared()).unwrap();
    let error = Op::<()>::start("test", move || {
        let _turn = turn;
        panic!("on purpose")
    })
    .wait()
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    bed.session.shutdown().wait().unwrap();
}

#[test]
fn a_termination_waits_for_the_operation_under_way_whatever_becomes_of_the_session() {
    let bed = Bed::new();
    let turn = Turn::take(bed.shared()).unwrap();
    let terminated = bed.session.terminate();
    drop(bed.session);
    let (done, is_done) = mpsc::channel();
    let waiter = thread::spawn(move || done.send(terminated.wait()).unwrap());
    assert!(is_done.recv_timeout(Duration::from_millis(100)).is_err());
    // A shutdown that is overtaken makes no snapshot.
    let overtaken = turn.shut_down(&()).unwrap_err();
    assert!(overtaken.to_string().contains("terminated"), "{overtaken}");
    is_done
        .recv_timeout(Duration::from_secs(10))
        .unwrap()
        .unwrap();
    waiter.join().unwrap();
    assert!(bed.store.sessions().unwrap().is_empty());
    assert!(folder::open(bed.store.dir(), ID).is_err());
}

/// The last that it was told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Option<(Stage, u64, u64)>>>);

impl Progress for Told {
    fn advance(&self, stage: Stage, done: u64, total: u64) {
        *self.0.lock().unwrap() = Some((stage, done, total));
    }
}

#[test]
fn a_shutdown_tells_how_far_its_snapshot_has_come() {
    let bed = Bed::new();
    let told = Told::default();
    let shutdown = bed.session.shutdown_with_progress(told.clone());
    let bytes = shutdown.wait().unwrap().new_bytes;
    assert!(bytes > 0);
    assert_eq!(*told.0.lock().unwrap(), Some((Stage::Chunks, bytes, bytes)));
}
