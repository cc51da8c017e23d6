//! What a session shares with the operations on it, which may outlive it.

use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::guest::GuestLink;
use super::phase::{Live, Phase};
use super::watcher;
use crate::activity::Activity;
use crate::console::Console;
use crate::disk::RootDisk;
use crate::event::Events;
use crate::launch::{Launched, Plan};
use crate::limits::{LimitWatch, Limits};
use crate::over::Over;
use crate::store::Store;
use crate::tasks::{Board, Runner};
use crate::timings::Timings;

/// What a session shares with the operations on it.
pub(super) struct Shared {
    pub(super) id: String,
    pub(super) store: Store,
    pub(super) shutdown_timeout: Duration,
    /// What a start of the guest takes that no record holds.
    pub(super) plan: Plan,
    pub(super) inner: Mutex<Inner>,
    /// Notified when an operation has ended, or the phase has changed otherwise.
    pub(super) settled: Condvar,
    /// Terminations that are under way.
    pub(super) dooms: AtomicUsize,
    pub(super) timings: Mutex<Timings>,
    /// The public half of the guest's SSH host key.
    pub(super) ssh_host_key: String,
    /// The tasks of the guest that runs, or ran last.
    pub(super) tasks: Mutex<Arc<Board>>,
    /// What the guest that runs, or ran last, prints.
    pub(super) console: Mutex<Console>,
    /// The disk, for as long as it is open.
    pub(super) disk: Weak<RootDisk>,
    pub(super) events: Arc<Events>,
    pub(super) limits: Mutex<Limits>,
    pub(super) limit_watch: Mutex<LimitWatch>,
    pub(super) activity: Arc<Activity>,
    pub(super) over: Arc<Over>,
}

pub(super) struct Inner {
    pub(super) phase: Phase,
    /// Whether an operation has the turn.
    pub(super) is_busy: bool,
    /// Operations that wait for the turn, and see to the session's end.
    pub(super) claims: usize,
    /// Whether nobody has the session any more: the last operation cuts it off.
    pub(super) is_dropped: bool,
}

impl Inner {
    /// What a session that was dropped still holds, if no operation needs it. It is dropped without the lock: the VM ends,
    /// then what is fetched, then the disk is closed, then the session is unlocked.
    ///
    /// It never goes with the last [`Shared`] instead, which a thread may have that it waits for.
    #[must_use = "it is to be dropped without the lock"]
    pub(super) fn cut_off(&mut self) -> Option<Phase> {
        let is_free = self.is_dropped && !self.is_busy && self.claims == 0;
        (is_free && self.phase.holds_session())
            .then(|| mem::replace(&mut self.phase, Phase::Removed))
    }
}

impl Shared {
    /// Of a session whose guest has started.
    pub(super) fn new(launched: Launched) -> Self {
        let Launched {
            store,
            machine,
            background,
            holding,
            events,
            plan,
            shutdown_timeout,
            timings,
            used,
        } = launched;
        let record = holding.record();
        let (id, limits) = (record.id.clone(), record.limits.clone());
        let ssh_host_key = record.identity.ssh_host_key();
        let ssh_host_key = ssh_host_key.unwrap_or_default().to_owned();
        let disk = holding.disk().map(Arc::downgrade).unwrap_or_default();
        let console = machine.console();
        let live = Live::new(machine, background, holding);
        let activity = Arc::<Activity>::default();
        let sample = watcher::sample(&activity, Some(&live.machine.watch()));
        let begun = store.clock().monotonic();
        Self {
            id,
            store,
            shutdown_timeout,
            plan,
            inner: Mutex::new(Inner {
                phase: Phase::Running(Box::new(live)),
                is_busy: false,
                claims: 0,
                is_dropped: false,
            }),
            settled: Condvar::new(),
            dooms: AtomicUsize::new(0),
            timings: Mutex::new(timings),
            disk,
            events,
            limits: Mutex::new(limits),
            limit_watch: Mutex::new(LimitWatch::new(begun, used, sample)),
            activity,
            over: Arc::default(),
            ssh_host_key,
            tasks: Mutex::default(),
            console: Mutex::new(console),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn timings(&self) -> MutexGuard<'_, Timings> {
        self.timings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn limits(&self) -> MutexGuard<'_, Limits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn limit_watch(&self) -> MutexGuard<'_, LimitWatch> {
        self.limit_watch
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn console(&self) -> MutexGuard<'_, Console> {
        self.console.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tasks(&self) -> Arc<Board> {
        Arc::clone(&self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens what leads into a guest that has just started, and begins its tasks.
    pub(super) fn guest_is_up(self: &Arc<Self>) {
        // Without it, the session is what it is for this process.
        if let Err(error) = self.open_ssh() {
            tracing::warn!(%error, id = self.id, "a session has no SSH socket");
        }
        self.start_tasks();
    }

    fn start_tasks(self: &Arc<Self>) {
        let guest = Arc::new(GuestLink::new(self));
        if let Phase::Running(live) = &mut self.lock().phase {
            *self.console() = live.machine.console();
            let identity = &live.holding.record().identity;
            let board = Arc::new(Board::new(identity.description().tasks.clone()));
            *self.tasks.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&board);
            let machine_id = identity.machine_id().unwrap_or_default();
            let events = Arc::clone(&self.events);
            live.tasks = Some(Runner::start(&board, guest, events, machine_id));
        }
    }

    /// Whether a termination waits for the operation that has the turn.
    pub(super) fn is_doomed(&self) -> bool {
        self.dooms.load(Ordering::SeqCst) > 0
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
