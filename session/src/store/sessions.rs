//! What a store knows of its sessions, whoever runs them.

use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rootfs_store::SnapshotDigest;

use crate::about::About;
use crate::disks;
use crate::drive::DriveInfo;
use crate::error::{Error, Repr};
use crate::folder::{self, LockedFolder};
use crate::limits::Limits;
use crate::record::{Record, RecordState};
use crate::ssh;

/// A session, as its record and its lock tell.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its id.
    pub id: String,
    /// Whether it runs, and how it was left if not.
    pub state: SessionState,
    /// The snapshot that its disk is, if it is stopped, or started from last.
    pub snapshot: SnapshotDigest,
    /// The snapshot that it was created from.
    pub base: SnapshotDigest,
    /// The kernel that it boots.
    pub kernel: PathBuf,
    /// The folder of the kernel's modules.
    pub modules: Option<PathBuf>,
    /// Its processors.
    pub vcpus: u8,
    /// Its memory in MiB.
    pub memory_mib: u32,
    /// Its hostname, if it was given one.
    pub hostname: Option<String>,
    /// The guest's id, as in its `/etc/machine-id`; `None` for a session of an older library that was not
    /// resumed since.
    pub machine_id: Option<String>,
    /// The public half of the guest's SSH host key; `None` like `machine_id`.
    pub ssh_host_key: Option<String>,
    /// When it was created, in seconds since 1970.
    pub created: u64,
    /// When its state last changed, in seconds since 1970.
    pub changed: u64,
    /// When its last run started, in seconds since 1970; nothing if there was none.
    pub started: Option<u64>,
    /// What ended its last run, if nobody had asked for that: the guest's kernel panicked, for example.
    pub failure: Option<String>,
    /// How long it may run.
    pub limits: Limits,
    /// What is noted of it.
    pub about: About,
    /// Its drives besides the root.
    pub drives: Vec<DriveInfo>,
}

/// How a session is, or was left. What leads from one state to another:
///
/// | from | to | by |
/// |---|---|---|
/// | – | `Created` | [`SessionBuilder::create`](crate::SessionBuilder::create) |
/// | –, `Created`, `Stopped` | `Starting`, then `Running` while it boots | [`SessionBuilder::start`](crate::SessionBuilder::start) |
/// | `Interrupted`, `Failed` | `Running` | [`SessionBuilder::start`](crate::SessionBuilder::start) |
/// | `Running` | `Paused`, and back | [`Session::pause`](crate::Session::pause), [`unpause`](crate::Session::unpause) |
/// | `Running`, `Paused` | `ShuttingDown`, then `Stopped` | [`Session::shutdown`](crate::Session::shutdown), a limit, the guest's power button |
/// | `Running` | `Failed` | the guest's kernel panicked, or its VM could not go on |
/// | `Running`, `Paused`, `ShuttingDown` | `Interrupted` | its [`Session`](crate::Session) was dropped, or its process died |
/// | `Interrupted`, `Failed` | `ShuttingDown`, then `Stopped` | [`Store::settle`](crate::Store::settle), or a limit that has passed |
/// | any | – | [`Session::terminate`](crate::Session::terminate), [`Store::remove_session`](crate::Store::remove_session) |
///
/// A state is on the host's disk for good before anyone is told of it. A reboot is no change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionState {
    /// It was never started; its disk is its snapshot.
    Created,
    /// A process has it, and its disk is not open yet, or was just closed.
    Starting,
    /// A process runs it, or boots its guest.
    Running,
    /// A process has it, and its guest stands still.
    Paused,
    /// A process is shutting it down.
    ShuttingDown,
    /// It was shut down: its disk is a snapshot.
    Stopped,
    /// Its process is gone without a shutdown. The disk holds all that was flushed; resume the session to go on.
    Interrupted,
    /// Its guest crashed, [`SessionInfo::failure`] says how. The disk holds all that was flushed; resume the session to
    /// go on.
    Failed,
}

impl SessionState {
    /// The state in lower-case words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::ShuttingDown => "shutting down",
            Self::Stopped => "stopped",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
        }
    }

    /// Whether it has a disk that is no snapshot yet, and nobody runs it.
    pub(super) fn is_cut_off(self) -> bool {
        matches!(self, Self::Interrupted | Self::Failed)
    }

    fn of(record: &Record, locked: bool) -> Self {
        match (record.state, locked) {
            (RecordState::Stopped, true) => Self::Starting,
            (RecordState::Stopped, false) if record.started.is_none() => Self::Created,
            (RecordState::Stopped, false) => Self::Stopped,
            (RecordState::ShuttingDown, true) => Self::ShuttingDown,
            (_, _) if record.failure.is_some() => Self::Failed,
            (RecordState::Open, true) => Self::Running,
            (RecordState::Paused, true) => Self::Paused,
            (_, false) => Self::Interrupted,
        }
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl SessionInfo {
    pub(super) fn new(record: Record, locked: bool) -> Self {
        Self {
            state: SessionState::of(&record, locked),
            snapshot: record.snapshot,
            base: record.origin,
            id: record.id,
            kernel: record.kernel,
            modules: record.modules,
            vcpus: record.vcpus,
            memory_mib: record.memory_mib,
            hostname: record.hostname,
            machine_id: record.identity.machine_id().map(str::to_owned),
            ssh_host_key: record.identity.ssh_host_key().map(str::to_owned),
            created: record.created,
            changed: record.changed,
            started: record.started,
            failure: record.failure,
            limits: record.limits,
            about: record.about,
            drives: record.drives.into_iter().map(Into::into).collect(),
        }
    }

    /// The snapshot that the session's disk is. A session that was not shut down has none: its last one is older.
    pub(super) fn at_rest(self) -> Result<SnapshotDigest, Error> {
        if matches!(self.state, SessionState::Stopped | SessionState::Created) {
            return Ok(self.snapshot);
        }
        let state = self.state.as_str();
        Err(Repr::NotAtRest { id: self.id, state }.into())
    }
}

/// A session that is there, but can't be told anything of: its record is damaged, or can't be read. Its disk may be
/// whole nevertheless.
#[derive(Debug, thiserror::Error)]
#[error("session `{id}` can't be read")]
#[non_exhaustive]
pub struct UnreadableSession {
    /// Its id.
    pub id: String,
    /// What is wrong, and with which file.
    #[source]
    pub error: Error,
}

pub(super) fn look(store: &Path, id: &str) -> Result<SessionInfo, Error> {
    let (record, locked) = folder::look(store, id)?;
    Ok(SessionInfo::new(record, locked))
}

pub(super) fn list(store: &Path) -> Result<Vec<Result<SessionInfo, UnreadableSession>>, Error> {
    let mut sessions = Vec::new();
    for id in folder::ids(store)? {
        match look(store, &id) {
            Ok(session) => sessions.push(Ok(session)),
            // Removed since the folder was listed.
            Err(error) if error.is_not_found() => {}
            Err(error) => sessions.push(Err(UnreadableSession { id, error })),
        }
    }
    Ok(sessions)
}

pub(super) fn connect_ssh(store: &Path, id: &str) -> Result<UnixStream, Error> {
    let info = look(store, id)?;
    if info.state != SessionState::Running {
        let state = info.state.as_str();
        return Err(Repr::NotRunning { state }.into());
    }
    let id = id.to_owned();
    ssh::connect(&folder::existing(store, &id)?)
        .map_err(|source| Repr::SshSocket { id, source }.into())
}

/// Removes a session that nobody holds, even one whose record is damaged.
pub(crate) fn remove(store: &rootfs_store::Store, id: &str) -> Result<(), Error> {
    remove_locked(store, id, &folder::open(store.dir(), id)?)
}

/// Removes a session whose folder the caller holds, and whose disks nobody has open. If this fails it may be tried again.
pub(crate) fn remove_locked(
    store: &rootfs_store::Store,
    id: &str,
    folder: &LockedFolder,
) -> Result<(), Error> {
    folder.remove_record()?;
    disks::discard(store, id)?;
    folder.remove()
}

/// Clears away what processes left behind that died while they made or removed a session.
pub(super) fn sweep(store: &rootfs_store::Store) {
    folder::sweep_removed(store.dir());
    for id in folder::leftovers(store.dir()).unwrap_or_default() {
        let Some(folder) = folder::open_leftover(store.dir(), &id) else {
            continue;
        };
        if let Err(error) = disks::discard(store, &id).and_then(|()| folder.remove()) {
            tracing::warn!(%error, id, "could not clear away the rest of a session");
        }
    }
    sweep_disks(store);
}

/// Removes disks of sessions at rest, which processes left behind that died between two steps of a start or a shutdown.
fn sweep_disks(store: &rootfs_store::Store) {
    let disks = store.disk_ids().unwrap_or_default();
    let sessions: BTreeSet<_> = disks
        .iter()
        .map(|disk| disks::session_of_disk(disk))
        .collect();
    for id in sessions {
        if let Err(error) = sweep_disks_of(store, id) {
            tracing::warn!(%error, id, "could not remove the disks of a session at rest");
        }
    }
}

fn sweep_disks_of(store: &rootfs_store::Store, id: &str) -> Result<(), Error> {
    let is_at_rest = |record: &Record| !record.state.has_disk();
    // What is no session, or has somebody who sees to it, is not swept here.
    if !folder::look(store.dir(), id).is_ok_and(|(record, locked)| !locked && is_at_rest(&record)) {
        return Ok(());
    }
    let Ok(folder) = folder::open(store.dir(), id) else {
        return Ok(());
    };
    let record = folder.record()?;
    match is_at_rest(&record) {
        true => disks::remove(store, &record),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
