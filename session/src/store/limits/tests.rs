use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use rootfs_store::SnapshotDigest;
use tempfile::TempDir;
use vmm_core::{BlockBackend, WriteSource};

use super::*;
use crate::clock::Clock;
use crate::limits::{IdleLimit, Limits};
use crate::record::RecordState;
use crate::store::SessionState;
use crate::testing::{record, store_with_image};

const HOUR: u64 = 3600;
const START: u64 = 1_764_000_000;

/// A clock that stands still until it is set.
#[derive(Debug)]
struct SetClock(Mutex<u64>);

impl SetClock {
    fn set(&self, seconds: u64) {
        *self.0.lock().unwrap() = seconds;
    }
}

impl Clock for SetClock {
    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(*self.0.lock().unwrap())
    }
}

struct Bed {
    _folder: TempDir,
    store: Store,
    clock: Arc<SetClock>,
    base: SnapshotDigest,
}

impl Bed {
    fn new() -> Self {
        let (folder, store, base) = store_with_image();
        let clock = Arc::new(SetClock(Mutex::new(START)));
        Self {
            _folder: folder,
            store: store.with_clock(Arc::<SetClock>::clone(&clock)),
            clock,
            base,
        }
    }

    /// A session that began at [`START`], wrote something and was cut off.
    fn cut_off(&self, id: &str, limits: Limits) {
        let mut holding = Holding::create(&self.store, record(id, self.base)).unwrap();
        holding.record_mut().limits = limits;
        holding.record_mut().started = Some(START);
        let disk = Arc::clone(holding.open_disks().unwrap().root());
        let bytes = [7; 512];
        disk.write_at(&mut WriteSource::from_slice(&bytes), 48 << 20)
            .unwrap();
        disk.flush().unwrap();
        holding.folder().beat(self.clock.wall());
    }

    fn enforce(&self) -> Vec<(String, Limit)> {
        let enforced = self.store.enforce_limits().start().wait().unwrap();
        let each = enforced.into_iter().map(|one| {
            one.result.unwrap();
            (one.id, one.limit)
        });
        each.collect()
    }

    fn state(&self, id: &str) -> SessionState {
        self.store.session(id).unwrap().state
    }
}

fn idle(after: u64) -> Limits {
    Limits {
        idle: Some(IdleLimit::after(Duration::from_secs(after))),
        ..Limits::none()
    }
}

#[test]
fn a_session_whose_process_was_down_at_its_end_is_shut_down_later() {
    let bed = Bed::new();
    bed.cut_off("a", Limits::default());
    bed.clock.set(START + 8 * HOUR - 1);
    assert_eq!(bed.enforce(), []);
    assert_eq!(bed.state("a"), SessionState::Interrupted);
    bed.clock.set(START + 8 * HOUR);
    assert_eq!(bed.enforce(), [("a".to_owned(), Limit::Uptime)]);
    let info = bed.store.session("a").unwrap();
    assert_eq!(info.state, SessionState::Stopped);
    assert_ne!(info.snapshot, bed.base);
    assert_eq!(bed.enforce(), []);
}

#[test]
fn a_session_that_is_to_be_thrown_away_is() {
    let bed = Bed::new();
    let limits = Limits {
        at_end: AtEnd::Terminate,
        ..Limits::default()
    };
    bed.cut_off("a", limits);
    bed.clock.set(START + 9 * HOUR);
    assert_eq!(bed.enforce().len(), 1);
    assert!(bed.store.sessions().unwrap().is_empty());
    assert!(!bed.store.inner().disk_exists("a"));
}

#[test]
fn a_session_is_idle_since_its_last_sign_of_life() {
    let bed = Bed::new();
    bed.clock.set(START + 5 * HOUR);
    bed.cut_off("a", idle(HOUR));
    bed.clock.set(START + 6 * HOUR - 1);
    assert_eq!(bed.enforce(), []);
    bed.clock.set(START + 6 * HOUR);
    assert_eq!(bed.enforce(), [("a".to_owned(), Limit::Idle)]);
}

#[test]
fn a_clock_that_was_set_back_ends_nothing() {
    let bed = Bed::new();
    bed.cut_off("a", Limits::default());
    bed.cut_off("b", idle(HOUR));
    bed.clock.set(START - 100 * HOUR);
    assert_eq!(bed.enforce(), []);
    assert_eq!(bed.state("a"), SessionState::Interrupted);
}

#[test]
fn a_session_that_somebody_holds_is_left_alone() {
    let bed = Bed::new();
    bed.cut_off("a", Limits::default());
    let _held = Holding::take(&bed.store, "a").unwrap();
    bed.clock.set(START + 9 * HOUR);
    assert_eq!(bed.enforce(), []);
}

#[test]
fn settling_keeps_what_was_flushed_and_is_done_once() {
    let bed = Bed::new();
    bed.cut_off("a", Limits::none());
    let first = bed.store.settle("a").start().wait().unwrap();
    assert_eq!(first.state, SessionState::Stopped);
    assert_ne!(first.snapshot, bed.base);
    let again = bed.store.settle("a").start().wait().unwrap();
    assert_eq!(again, first);
}

/// What others see of a session while its snapshot is made.
struct Looking(Store, Mutex<Vec<SessionState>>);

impl Progress for Looking {
    fn advance(&self, _: rootfs_store::Stage, _: u64, _: u64) {
        let state = self.0.session("a").unwrap().state;
        self.1.lock().unwrap().push(state);
    }
}

#[test]
fn a_session_that_is_being_settled_does_not_seem_to_run() {
    let bed = Bed::new();
    bed.cut_off("a", Limits::none());
    let looking = Looking(bed.store.clone(), Mutex::default());
    let mut holding = Holding::take(&bed.store, "a").unwrap();
    holding.settle(&looking).unwrap();
    let seen = looking.1.into_inner().unwrap();
    assert!(!seen.is_empty());
    assert!(
        seen.iter()
            .all(|state| *state == SessionState::ShuttingDown),
        "{seen:?}"
    );
}

#[test]
fn a_settling_that_fails_puts_no_limit_off() {
    let bed = Bed::new();
    bed.cut_off("a", idle(HOUR));
    let before = bed.store.session("a").unwrap();
    bed.store.inner().remove_disk("a").unwrap();
    bed.clock.set(START + HOUR);
    let enforced = bed.store.enforce_limits().start().wait().unwrap();
    enforced[0].result.as_ref().unwrap_err();
    let after = bed.store.session("a").unwrap();
    assert_eq!(after.changed, before.changed);
    assert_eq!(after.state, SessionState::Interrupted);
    let again = bed.store.enforce_limits().start().wait().unwrap();
    assert_eq!(again.len(), 1);
}

#[test]
fn a_fork_of_a_stopped_session_has_its_disk_and_machine_and_another_id() {
    let bed = Bed::new();
    bed.cut_off("a", idle(HOUR));
    let busy = bed.store.fork("a").unwrap_err();
    assert!(busy.to_string().contains("resume it"), "{busy}");
    let stopped = bed.store.settle("a").start().wait().unwrap();
    let builder = bed.store.fork("a").unwrap().id("b");
    let kernel = crate::Kernel::recorded("/dev/null".into(), None);
    let fork = builder.kernel(kernel).create().wait().unwrap();
    assert_eq!(fork.state, SessionState::Created);
    assert_eq!(fork.snapshot, stopped.snapshot);
    assert_eq!(
        (fork.memory_mib, &fork.limits),
        (stopped.memory_mib, &stopped.limits)
    );
    assert_eq!(fork.started, None);
}

#[test]
fn a_limit_counts_from_the_start_and_the_last_use() {
    let mut record = record("a", SnapshotDigest::from_bytes([0; 32]));
    record.state = RecordState::Open;
    record.started = Some(START);
    record.changed = START;
    assert_eq!(
        limit_passed(&record, 0, START + 8 * HOUR),
        Some(Limit::Uptime)
    );
    record.limits = idle(HOUR);
    assert_eq!(limit_passed(&record, START + HOUR, START + HOUR), None);
    assert_eq!(limit_passed(&record, 0, START + HOUR), Some(Limit::Idle));
}
