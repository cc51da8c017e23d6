//! A session that runs in this process.
//!
//! ```text
//! Running ⇄ Paused
//!    |--reboot----> Busy --> Running                     the same disk; Halted if the guest does not come up
//!    |--shutdown--> Busy --> Stopped                     the disk is a snapshot
//!    |                '----> Halted                      the guest is gone, the snapshot failed: shutdown may be tried again
//!    |--crash----------------^
//!    '--terminate-> Busy --> Removed                     ends whatever is under way, and its guest
//! ```
//!
//! One operation at a time has the [`Turn`]; others wait for it. A thread watches the guest and the limits, and takes its
//! turns like anyone else.
//!
//! Invariant: who drops a session that is Running or Halted leaves a disk that can be resumed.

mod doors;
mod guest;
mod phase;
mod reaching;
mod shared;
mod turn;
mod watcher;

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use rootfs_store::{Progress, RemoteTrouble, SnapshotDigest};

use crate::about::About;
use crate::builder::{SessionBuilder, Source};
use crate::command::Command;
use crate::error::{Error, Repr};
use crate::launch::Launched;
use crate::limits::Limits;
use crate::op::Op;
use crate::snapshot::Snapshot;
use crate::store::Store;
use crate::tasks::TaskStatus;
use crate::timings::Timings;
use guest::GuestLink;
use phase::Phase;
use shared::Shared;
use turn::{Claim, Doom};

pub use phase::Status;

/// A VM with its disk. Dropping it stops the VM as a power cut does; the disk stays, and the session can be resumed.
///
/// Any call may be made at any time, and again: calls that change the session wait for one another. A session that was
/// shut down, by whoever, gives the same snapshot to each shutdown.
pub struct Session {
    shared: Arc<Shared>,
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

    /// A session whose guest has started. If nobody can watch over it, all is as before the start.
    pub(crate) fn new(launched: Launched) -> Result<Self, Error> {
        let session = Self {
            shared: Arc::new(Shared::new(launched)),
        };
        if let Err(error) = watcher::start(&session.shared) {
            session.give_back();
            return Err(error);
        }
        session.shared.guest_is_up();
        Ok(session)
    }

    /// Undoes the start.
    fn give_back(self) {
        let phase = mem::replace(&mut self.shared.lock().phase, Phase::Removed);
        if let Phase::Running(live) = phase {
            live.end().give_back();
        }
    }

    pub(crate) fn finish_tasks(&self) {
        self.shared.tasks().wait();
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
        self.shared.tasks().statuses()
    }

    /// Waits until all tasks have ended, whether or not they succeeded.
    pub fn wait_tasks(&self) -> Op<Vec<TaskStatus>> {
        let tasks = self.shared.tasks();
        Op::start("wait-tasks", move || Ok(tasks.wait()))
    }

    /// A command to be run in the guest.
    pub fn command(&self, program: impl Into<String>) -> Command {
        Command::new(Arc::new(GuestLink::new(&self.shared)), program.into())
    }

    /// How the session is at this moment. A guest can end at any time.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.lock().phase.status()
    }

    /// How long the steps took that were made so far.
    #[must_use]
    pub fn timings(&self) -> Timings {
        *self.shared.timings()
    }

    /// The last that the guest printed on its console, up to 16 KiB, without control characters but line feeds; also
    /// after its end. [`Store::console_log`] has more.
    #[must_use]
    pub fn console_tail(&self) -> String {
        self.shared.console().text()
    }

    /// What the guest could not read of its root's disk so far, as a registry could not be reached or did not give it;
    /// nothing if all went well, and nothing once the session's disk is closed. [`SessionBuilder::on_event`] tells when that begins
    /// and ends.
    #[must_use]
    pub fn disk_trouble(&self) -> Option<RemoteTrouble> {
        self.shared.disk.upgrade()?.trouble()
    }

    /// What is left until the run is over, and until it is idle, if there are such limits. A session is told of as idle for
    /// as long as nothing of what [`IdleLimit`](crate::IdleLimit) names has happened.
    #[must_use]
    pub fn time_left(&self) -> TimeLeft {
        let now = self.shared.store.clock().monotonic();
        let limits = self.shared.limits().clone();
        let [uptime, idle] = self.shared.limit_watch().left(now, &limits);
        TimeLeft { uptime, idle }
    }

    /// The limits of the session.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.shared.limits().clone()
    }

    /// Gives the running session other limits, for this run and the next ones: more time, for example.
    pub fn set_limits(&self, limits: Limits) -> Op<()> {
        let claim = Claim::new(&self.shared);
        Op::start("set limits", move || {
            limits.check()?;
            claim.wait().set_limits(limits)
        })
    }

    /// Changes what is noted of the session: its title, labels, and for how long it is kept. `change` is called at once, or
    /// when an operation under way has ended.
    pub fn describe(&self, change: impl FnOnce(&mut About) + Send + 'static) -> Op<()> {
        let claim = Claim::new(&self.shared);
        Op::start("describe", move || claim.wait().describe(change))
    }

    /// Says that the session is in use, which keeps it from being idle.
    pub fn touch(&self) {
        self.shared.activity.touch();
    }

    /// Makes the guest stand still: its processors, and whatever its devices do. Its memory stays. Commands wait. Does
    /// nothing if it stands still already.
    pub fn pause(&self) -> Op<()> {
        let claim = Claim::new(&self.shared);
        Op::start("pause", move || claim.wait().pause())
    }

    /// Lets a paused guest go on. Does nothing if it does not stand still.
    pub fn unpause(&self) -> Op<()> {
        let claim = Claim::new(&self.shared);
        Op::start("unpause", move || claim.wait().unpause())
    }

    /// Ends the guest as [`shutdown`](Self::shutdown) does and starts it again, on the same disk. Commands that run end with
    /// it. A guest that reboots by itself is started again, too. Neither begins the time of [`Limits::max_uptime`] anew.
    ///
    /// If the guest does not come up again its disk is kept: shut the session down, or drop and resume it.
    pub fn reboot(&self) -> Op<()> {
        let claim = Claim::new(&self.shared);
        Op::start("reboot", move || claim.wait().reboot())
    }

    /// Makes a snapshot of the disk while the guest runs.
    ///
    /// The guest writes everything out and holds its file systems still for the moment in which the disk is switched to a
    /// fresh overlay, which takes the same few milliseconds however much was written; what lies below becomes the
    /// snapshot while the guest goes on. [`Timings::stall`] says how long that moment was. A guest that can't hold still,
    /// as it is paused for example, gives a snapshot as after a power cut, and [`Snapshot::clean`] says so.
    ///
    /// It stays for as long as the session runs on it, and longer if [`Store::name_image`] gives it a name.
    pub fn snapshot(&self) -> Op<Snapshot> {
        self.snapshot_with_progress(())
    }

    /// As [`snapshot`](Self::snapshot); `progress` is told how far it has come.
    pub fn snapshot_with_progress(&self, progress: impl Progress + Send + 'static) -> Op<Snapshot> {
        let claim = Claim::new(&self.shared);
        Op::start("snapshot", move || claim.wait().snapshot(&progress))
    }

    /// A new session that begins with what this one's disk holds at this moment, by a [`snapshot`](Self::snapshot), on a
    /// machine like this one's. It has an id of its own. If this session was shut down it needs no snapshot. Networks are as
    /// they were described for this one, with their addresses: give the fork others where that would clash.
    pub fn fork(&self) -> Op<SessionBuilder> {
        let claim = Claim::new(&self.shared);
        Op::start("fork", move || claim.wait().fork())
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
        // At once, so that dropping the session right after this does not cut the guest off.
        let claim = Claim::new(&self.shared);
        Op::start("shutdown", move || claim.wait().shut_down(&progress))
    }

    /// Ends the guest by force and throws its disk away, with the session. Snapshots stay. A shutdown that is under way
    /// is cut short, and fails unless it has come to its snapshot.
    ///
    /// If something could not be removed, call this again. Until then it is tried now and then.
    pub fn terminate(&self) -> Op<()> {
        let doom = Doom::new(&self.shared);
        let claim = Claim::new(&self.shared);
        Op::start("terminate", move || doom.wait(claim).terminate())
    }
}

/// What is left of a session's time; `None` where there is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeLeft {
    /// Until [`Limits::max_uptime`] is over.
    pub uptime: Option<Duration>,
    /// Until the session counts as idle, if nothing happens.
    pub idle: Option<Duration>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.over.set();
        let mut inner = self.shared.lock();
        inner.is_dropped = true;
        let cut_off = inner.cut_off();
        drop(inner);
        self.shared.settled.notify_all();
        drop(cut_off);
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

fn not_running(state: &'static str) -> Error {
    Repr::NotRunning { state }.into()
}
