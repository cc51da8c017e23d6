//! What a store knows of its sessions, whoever runs them.

use std::fmt;
use std::path::{Path, PathBuf};

use rootfs_store::{SnapshotDigest, StoreError};

use super::reference;
use crate::error::{Error, Repr};
use crate::folder;
use crate::record::{Record, RecordState};

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
}

/// How a session is, or was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionState {
    /// A process runs it.
    Running,
    /// It was shut down: its disk is a snapshot.
    Stopped,
    /// Its process is gone without a shutdown. The disk holds all that was flushed; resume the session to go on.
    Interrupted,
}

impl SessionState {
    /// The state in one lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Interrupted => "interrupted",
        }
    }

    fn new(state: RecordState, locked: bool) -> Self {
        match (locked, state) {
            (true, _) => Self::Running,
            (false, RecordState::Stopped) => Self::Stopped,
            (false, RecordState::Open) => Self::Interrupted,
        }
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl SessionInfo {
    fn new(record: Record, locked: bool) -> Self {
        Self {
            state: SessionState::new(record.state, locked),
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
        }
    }

    /// The snapshot that the session's disk is. A session that was not shut down has none: its last one is older.
    pub(super) fn at_rest(self) -> Result<SnapshotDigest, Error> {
        if self.state == SessionState::Stopped {
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

/// Removes a session that nobody holds, even one whose record is damaged.
pub(crate) fn remove(store: &rootfs_store::Store, id: &str) -> Result<(), Error> {
    let folder = folder::open(store.dir(), id)?;
    folder.remove_record()?;
    discard(store, id)?;
    folder.remove()
}

/// Removes what a session without a record has in the store.
pub(crate) fn discard(store: &rootfs_store::Store, id: &str) -> Result<(), Error> {
    store.remove_disk(id)?;
    match store.remove_name(&reference(id)) {
        Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Clears away what processes left behind that died while they made or removed a session.
pub(super) fn sweep(store: &rootfs_store::Store) {
    folder::sweep_removed(store.dir());
    for id in folder::leftovers(store.dir()).unwrap_or_default() {
        let Some(folder) = folder::open_leftover(store.dir(), &id) else {
            continue;
        };
        if let Err(error) = discard(store, &id).and_then(|()| folder.remove()) {
            tracing::warn!(%error, id, "could not clear away the rest of a session");
        }
    }
}

#[cfg(test)]
mod tests;
