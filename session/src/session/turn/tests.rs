use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use rootfs_store::{Progress, Stage};
use tempfile::TempDir;
use vmm_core::{BlockBackend, WriteSource};

use super::*;
use crate::ErrorKind;
use crate::console::Console;
use crate::folder;
use crate::holding::Holding;
use crate::launch::Plan;
use crate::limits::{LimitWatch, Limits, Sample};
use crate::op::Op;
use crate::session::Session;
use crate::session::phase::{Halted, Status};
use crate::store::{SessionState, Store};
use crate::testing::{record, store_with_image};
use crate::timings::Timings;

const ID: &str = "a";

/// A session whose guest has ended and whose snapshot has yet to be made: no VM is needed for it.
pub(in crate::session) struct Bed {
    _folder: TempDir,
    pub(in crate::session) store: Store,
    pub(in crate::session) session: Session,
}

impl Bed {
    pub(in crate::session) fn new() -> Self {
        let (folder, store, snapshot) = store_with_image();
        let mut holding = Holding::create(&store, record(ID, snapshot)).unwrap();
        let disk = Arc::clone(holding.open_disks().unwrap().root());
        disk.write_at(&mut WriteSource::from_slice(&[7; 512]), 48 << 20)
            .unwrap();
        drop(disk);
        let console = Console::new(holding.folder().console().unwrap());
        let shared = Arc::new(Shared {
            id: ID.into(),
            store: store.clone(),
            shutdown_timeout: Duration::ZERO,
            plan: Plan {
                fill: None,
                switches: Vec::new(),
                boot_timeout: Duration::ZERO,
            },
            inner: Mutex::new(Inner {
                phase: Phase::Halted(Box::new(Halted {
                    holding,
                    clean: true,
                    crash: None,
                })),
                is_busy: false,
                claims: 0,
                is_dropped: false,
            }),
            settled: Condvar::new(),
            dooms: AtomicUsize::new(0),
            timings: Mutex::new(Timings::default()),
            console: Mutex::new(console),
            disk: std::sync::Weak::new(),
            events: Arc::default(),
            limits: Mutex::new(Limits::none()),
            limit_watch: Mutex::new(LimitWatch::new(
                Duration::ZERO,
                Duration::ZERO,
                Sample::default(),
            )),
            activity: Arc::default(),
            over: Arc::default(),
            ssh_host_key: String::new(),
            tasks: Mutex::default(),
        });
        Self {
            _folder: folder,
            store,
            session: Session { shared },
        }
    }

    pub(in crate::session) fn shared(&self) -> &Arc<Shared> {
        &self.session.shared
    }

    /// Puts something in the way of the session's removal.
    pub(in crate::session) fn block_removal(&self) -> PathBuf {
        let place = self.store.dir().join("sessions/.removed-a");
        fs::write(&place, []).unwrap();
        place
    }
}

#[test]
fn an_operation_that_never_runs_leaves_the_session_as_it_was() {
    let bed = Bed::new();
    let claim = Claim::new(bed.shared());
    let late = bed.session.shutdown();
    drop(claim);
    let snapshot = late.wait().unwrap();
    assert_eq!(bed.session.status(), Status::Stopped(snapshot.clone()));
    assert_eq!(bed.session.shutdown().wait().unwrap(), snapshot);
}

#[test]
fn shutdowns_at_the_same_time_give_the_same_snapshot() {
    let bed = Bed::new();
    let shutdowns: Vec<_> = (0..8).map(|_| bed.session.shutdown()).collect();
    let snapshots: Vec<_> = shutdowns.into_iter().map(|op| op.wait().unwrap()).collect();
    assert!(snapshots.iter().all(|snapshot| *snapshot == snapshots[0]));
}

#[test]
fn an_operation_that_panics_can_be_made_again() {
    let bed = Bed::new();
    let claim = Claim::new(bed.shared());
    let error = Op::<()>::start("test", move || {
        let mut turn = claim.wait();
        turn.take_out(Doing::Ending);
        panic!("on purpose")
    })
    .wait()
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    bed.session.shutdown().wait().unwrap();
}

#[test]
fn an_operation_that_lost_what_it_held_to_a_panic_leaves_a_session_that_can_be_resumed() {
    let bed = Bed::new();
    let claim = Claim::new(bed.shared());
    let error = Op::<()>::start("test", move || {
        let mut turn = claim.wait();
        turn.take_out(Doing::Rebooting);
        let _lost = turn.taken.take();
        panic!("on purpose")
    })
    .wait()
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(bed.session.shutdown().wait().is_err());
    let state = bed.store.session(ID).unwrap().state;
    assert_eq!(state, SessionState::Interrupted);
}

#[test]
fn a_termination_waits_for_the_operation_under_way_whatever_becomes_of_the_session() {
    let bed = Bed::new();
    let turn = Claim::new(bed.shared()).wait();
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

#[test]
fn what_needs_a_guest_is_refused_without_one_and_changes_nothing() {
    let bed = Bed::new();
    let session = &bed.session;
    let errors = [
        session.pause().wait().unwrap_err(),
        session.unpause().wait().unwrap_err(),
        session.reboot().wait().unwrap_err(),
        session.snapshot().wait().unwrap_err(),
        session.set_limits(Limits::none()).wait().unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().contains("not running"), "{error}");
    }
    assert_eq!(session.status(), Status::Unsaved);
    session.shutdown().wait().unwrap();
}

#[test]
fn a_session_that_was_shut_down_can_be_forked() {
    let bed = Bed::new();
    let snapshot = bed.session.shutdown().wait().unwrap();
    let kernel = crate::Kernel::recorded("/dev/null".into(), None);
    let fork = bed.session.fork().wait().unwrap().kernel(kernel);
    assert_eq!(fork.create().wait().unwrap().snapshot, snapshot.digest);
}

#[test]
fn a_session_that_is_stopped_here_and_runs_elsewhere_is_not_forked() {
    let bed = Bed::new();
    bed.session.shutdown().wait().unwrap();
    let elsewhere = Holding::take(&bed.store, ID).unwrap();
    assert_eq!(
        bed.session.fork().wait().unwrap_err().kind(),
        ErrorKind::Busy
    );
    drop(elsewhere);
    drop(bed.session.fork().wait().unwrap());
}

#[test]
fn a_fork_keeps_what_it_begins_with() {
    let bed = Bed::new();
    let snapshot = bed.session.shutdown().wait().unwrap();
    let fork = bed.session.fork().wait().unwrap().id("b");
    bed.session.terminate().wait().unwrap();
    let inner = bed.store.inner();
    inner.gc(Duration::ZERO, &()).unwrap();
    let kernel = crate::Kernel::recorded("/dev/null".into(), None);
    let made = fork.kernel(kernel).create().wait().unwrap();
    assert_eq!(made.snapshot, snapshot.digest);
    bed.store.remove_session("b").unwrap();
    inner.gc(Duration::ZERO, &()).unwrap();
    assert!(inner.snapshot(&snapshot.digest).is_err());
}

#[test]
fn a_termination_that_failed_can_be_made_again() {
    let bed = Bed::new();
    let in_the_way = bed.block_removal();
    for _ in 0..2 {
        bed.session.terminate().wait().unwrap_err();
        assert_eq!(bed.session.status(), Status::Unremoved);
    }
    assert!(bed.session.shutdown().wait().is_err());
    fs::remove_file(in_the_way).unwrap();
    bed.session.terminate().wait().unwrap();
    assert_eq!(bed.session.status(), Status::Terminated);
    assert!(!bed.store.dir().join("sessions/a").exists());
}

#[test]
fn a_session_that_was_shut_down_and_removed_by_others_is_terminated() {
    let bed = Bed::new();
    bed.session.shutdown().wait().unwrap();
    bed.store.remove_session(ID).unwrap();
    bed.session.terminate().wait().unwrap();
    assert_eq!(bed.session.status(), Status::Terminated);
}

#[test]
fn a_dropped_session_is_let_go_of_by_its_last_operation_whoever_still_knows_it() {
    let bed = Bed::new();
    // As a thread of a task's has it for a moment, which the guest's end waits for.
    let known = Arc::clone(bed.shared());
    let turn = Claim::new(bed.shared()).wait();
    drop(bed.session);
    let busy = folder::open(bed.store.dir(), ID).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    drop(turn);
    let state = bed.store.session(ID).unwrap().state;
    assert_eq!(state, SessionState::Interrupted);
    drop(known);
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
