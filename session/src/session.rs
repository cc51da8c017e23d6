//! A session that runs in this process.
//!
//! ```text
//! Running --shutdown--> Ending --> Stopped         the disk is a snapshot
//!    |                     '-----> Halted          the guest is gone, the snapshot failed: shutdown may be tried again
//!    '----terminate---> Ending --> Removed               waits for a shutdown under way, whose guest it stops
//! ```
//!
//! Invariant: who drops a session that is Running or Halted leaves a disk that can be resumed.

mod guest;
mod phase;
mod turn;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rootfs_store::{Progress, RemoteTrouble, SnapshotDigest};

use crate::background::Background;
use crate::builder::{SessionBuilder, Source};
use crate::command::Command;
use crate::disk::RootDisk;
use crate::error::{Error, Repr};
use crate::holding::Holding;
use crate::machine::Machine;
use crate::op::Op;
use crate::snapshot::Snapshot;
use crate::store::Store;
use crate::tasks::{Board, Runner, TaskStatus};
use crate::timings::Timings;
use guest::GuestLink;
use phase::{Live, Phase};
use turn::{Doom, Turn};

pub use phase::Status;

/// A VM with its disk. Dropping it stops the VM as a power cut does; the disk stays, and the session can be resumed.
pub struct Session {
    shared: Arc<Shared>,
}

/// What a session shares with the operations on it.
struct Shared {
    id: String,
    store: Store,
    shutdown_timeout: Duration,
    phase: Mutex<Phase>,
    /// Notified when an operation has put the phase back.
    settled: Condvar,
    /// Terminations that are under way.
    dooms: AtomicUsize,
    timings: Mutex<Timings>,
    /// The public half of the guest's SSH host key.
    ssh_host_key: String,
    tasks: Arc<Board>,
    /// The disk, for as long as it is open.
    disk: Weak<RootDisk>,
}

impl Session {
    /// A new session from a container image: `oci:DIR[:TAG]` or `docker-archive:FILE[:NAME:TAG]`, which is
    /// imported if the store does not have it.
    pub fn from_image(store: &Store, reference: impl Into<String>) -> SessionBuilder {
        SessionBuilder::new(store, Source::Image(Box::new(store.import(reference))))
    }

    /// A new session from a snapshot, by what a shutdown returned or by its digest.
    pub fn from_snapshot(store: &Store, snapshot: impl Into<SnapshotDigest>) -> SessionBuilder {
        SessionBuilder::new(store, Source::Snapshot(snapshot.into()))
    }

    /// A session that was shut down or cut off, from where its disk is.
    pub fn resume(store: &Store, id: impl Into<String>) -> SessionBuilder {
        SessionBuilder::new(store, Source::Session(id.into()))
    }

    pub(crate) fn new(
        store: Store,
        machine: Machine,
        background: Background,
        holding: Holding,
        shutdown_timeout: Duration,
        timings: Timings,
    ) -> Self {
        let id = holding.record().id.clone();
        let vsock = machine.vsock();
        let ssh_host_key = holding.record().identity.ssh_host_key();
        let ssh_host_key = ssh_host_key.unwrap_or_default().to_owned();
        let disk = holding.disk().map(Arc::downgrade);
        let identity = &holding.record().identity;
        let tasks = Arc::new(Board::new(identity.description().tasks.clone()));
        let machine_id = identity.machine_id().unwrap_or_default().to_owned();
        let events = Arc::clone(holding.events());
        let phase = Mutex::new(Phase::Running(Box::new(Live {
            machine,
            tasks: None,
            background,
            holding,
            vsock,
        })));
        let timings = Mutex::new(timings);
        let disk = disk.unwrap_or_default();
        let shared = Arc::new(Shared {
            id,
            store,
            shutdown_timeout,
            phase,
            settled: Condvar::new(),
            dooms: AtomicUsize::new(0),
            timings,
            ssh_host_key,
            tasks,
            disk,
        });
        if let Phase::Running(live) = &mut *shared.phase() {
            let guest = Arc::new(GuestLink::new(&shared));
            live.tasks = Some(Runner::start(&shared.tasks, guest, events, &machine_id));
        }
        Self { shared }
    }

    pub(crate) fn finish_tasks(&self) {
        self.shared.tasks.wait();
    }

    /// The session's id, by which it can be resumed.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// The public half of the SSH host key that the guest was given, as `ssh-ed25519 AAAA…`: behind a name, it
    /// is a line of a client's `known_hosts`. It is the session's own, and stays the same when the session is
    /// resumed.
    #[must_use]
    pub fn ssh_host_key(&self) -> &str {
        &self.shared.ssh_host_key
    }

    /// How the session's tasks are at this moment, in the order in which they were described. They are told of
    /// after the session's end as well.
    #[must_use]
    pub fn tasks(&self) -> Vec<TaskStatus> {
        self.shared.tasks.statuses()
    }

    /// Waits until all tasks have ended, whether or not they succeeded.
    pub fn wait_tasks(&self) -> Op<Vec<TaskStatus>> {
        let tasks = Arc::clone(&self.shared.tasks);
        Op::start("wait-tasks", move || Ok(tasks.wait()))
    }

    /// A command to be run in the guest.
    pub fn command(&self, program: impl Into<String>) -> Command {
        Command::new(Arc::new(GuestLink::new(&self.shared)), program.into())
    }

    /// How the session is at this moment. A guest can end at any time.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.phase().status()
    }

    /// How long the steps took that were made so far.
    #[must_use]
    pub fn timings(&self) -> Timings {
        *self.shared.timings()
    }

    /// What the guest could not read of its disk so far, as a registry could not be reached or did not give it; nothing if
    /// all went well, and nothing once the session's disk is closed. [`SessionBuilder::on_event`] tells when that begins
    /// and ends.
    #[must_use]
    pub fn disk_trouble(&self) -> Option<RemoteTrouble> {
        self.shared.disk.upgrade()?.trouble()
    }

    /// Shuts the guest down and makes a snapshot of its disk.
    ///
    /// A guest that doesn't end within the session's time for it is ended by force; its disk is then as after a power
    /// cut, and [`Snapshot::clean`] says so. One that has ended by itself only needs its snapshot. If the snapshot
    /// fails, for instance because the host's disk is full, nothing is lost: call this again, or resume the session
    /// later. Calling it again after it succeeded gives the same snapshot.
    pub fn shutdown(&self) -> Op<Snapshot> {
        self.shutdown_with_progress(())
    }

    /// As [`shutdown`](Self::shutdown); `progress` is told how far the snapshot has come.
    pub fn shutdown_with_progress(&self, progress: impl Progress + Send + 'static) -> Op<Snapshot> {
        if let Phase::Stopped(snapshot) = &*self.shared.phase() {
            let snapshot = snapshot.clone();
            return Op::start("shutdown", move || Ok(snapshot));
        }
        // At once, so that dropping the session right after this does not cut the guest off.
        let turn = Turn::take(&self.shared);
        Op::start("shutdown", move || turn?.shut_down(&progress))
    }

    /// Ends the guest by force and throws its disk away, with the session. Snapshots stay. A shutdown that is under way
    /// is cut short, and fails unless it has come to its snapshot.
    pub fn terminate(&self) -> Op<()> {
        let doom = Doom::new(&self.shared);
        let turn = Turn::take(&self.shared);
        Op::start("terminate", move || match turn {
            Ok(turn) => turn.terminate(),
            Err(_) => doom.wait()?.terminate(),
        })
    }
}

impl Shared {
    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn timings(&self) -> MutexGuard<'_, Timings> {
        self.timings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a termination waits for the operation that has the phase.
    fn is_doomed(&self) -> bool {
        self.dooms.load(Ordering::SeqCst) > 0
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut phase = self.shared.phase();
        // A termination that waits sees to it otherwise.
        if matches!(*phase, Phase::Running(_) | Phase::Halted(_)) && !self.shared.is_doomed() {
            let cut_off = std::mem::replace(&mut *phase, Phase::Removed);
            drop(phase);
            // The VM ends here, then what is fetched, then the disk is closed, then the session is unlocked.
            drop(cut_off);
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.shared.id)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn not_running(state: &'static str) -> Error {
    Repr::NotRunning { state }.into()
}
