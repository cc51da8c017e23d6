//! The folder of one session below the store: its record, its console log, and the lock that says it is alive.
//!
//! Invariant: whoever changes the record or the disk of a session holds its lock; the lock ends with the
//! process that holds it, so a session that is `Open` and not locked was cut off.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Repr};
use crate::record::{self, Record, RecordState};

/// Below the store's folder.
const SESSIONS: &str = "sessions";

const LOCK: &str = "lock";
const CONSOLE: &str = "console.log";

/// A session's folder, locked for as long as this value lives.
#[derive(Debug)]
pub(crate) struct LockedFolder {
    path: PathBuf,
    _lock: File,
}

/// The ids of all sessions, sorted.
pub(crate) fn ids(store: &Path) -> Result<Vec<String>, Error> {
    let sessions = store.join(SESSIONS);
    let unreadable = |source| Repr::Io { action: "list", path: sessions.clone(), source };
    let entries = match fs::read_dir(&sessions) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error).into()),
    };
    let mut ids = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        // A folder without a record is a session that is just being created or removed.
        if entry.path().join(record::FILE).exists() {
            ids.extend(entry.file_name().into_string());
        }
    }
    ids.sort();
    Ok(ids)
}

/// Reads the record of `id` and says whether a process holds the session.
pub(crate) fn look(store: &Path, id: &str) -> Result<(Record, bool), Error> {
    let path = existing(store, id)?;
    let locked = match try_lock(&path) {
        Ok(lock) => lock.is_none(),
        Err(error) => return Err(error),
    };
    Ok((Record::read(&path)?, locked))
}

/// Makes the folder of a new session and locks it.
pub(crate) fn create(store: &Path, id: &str) -> Result<LockedFolder, Error> {
    let sessions = store.join(SESSIONS);
    fs::create_dir_all(&sessions).map_err(io_error("create", &sessions))?;
    let path = sessions.join(id);
    match fs::create_dir(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return reuse(path, id),
        Err(error) => return Err(io_error("create", &path)(error).into()),
    }
    record::sync_folder(&sessions).map_err(io_error("sync", &sessions))?;
    lock(path, id)
}

/// Locks the folder of a session that exists.
pub(crate) fn open(store: &Path, id: &str) -> Result<LockedFolder, Error> {
    lock(existing(store, id)?, id)
}

/// A folder without a record is what a process left that died while it created or removed the session.
fn reuse(path: PathBuf, id: &str) -> Result<LockedFolder, Error> {
    let folder = lock(path, id)?;
    if folder.path.join(record::FILE).exists() {
        return Err(Repr::SessionExists { id: id.to_owned() }.into());
    }
    Ok(folder)
}

fn existing(store: &Path, id: &str) -> Result<PathBuf, Error> {
    crate::id::check(id)?;
    let path = store.join(SESSIONS).join(id);
    if path.join(record::FILE).exists() {
        Ok(path)
    } else {
        Err(Repr::NoSession { id: id.to_owned() }.into())
    }
}

fn lock(path: PathBuf, id: &str) -> Result<LockedFolder, Error> {
    match try_lock(&path)? {
        Some(lock) => Ok(LockedFolder { path, _lock: lock }),
        None => Err(Repr::SessionBusy { id: id.to_owned() }.into()),
    }
}

fn try_lock(folder: &Path) -> Result<Option<File>, Error> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(io_error("lock", &path)(error).into()),
    }
}

fn io_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Repr + use<> {
    let path = path.to_owned();
    move |source| Repr::Io { action, path: path.clone(), source }
}

impl LockedFolder {
    /// Reads the session's record.
    pub(crate) fn record(&self) -> Result<Record, Error> {
        Record::read(&self.path)
    }

    /// Writes the session's record with a new state, durably.
    pub(crate) fn set_state(&self, record: &mut Record, state: RecordState) -> Result<(), Error> {
        record.state = state;
        record.changed = now();
        record.write(&self.path)
    }

    /// Starts a new console log.
    pub(crate) fn console(&self) -> Result<File, Error> {
        let path = self.path.join(CONSOLE);
        Ok(File::create(&path).map_err(io_error("create", &path))?)
    }

    /// Removes the session: first its record, so that no half of it is ever seen, then the rest.
    pub(crate) fn remove(self) -> Result<(), Error> {
        let record = self.path.join(record::FILE);
        match fs::remove_file(&record) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("remove", &record)(error).into());
            }
            _ => {}
        }
        record::sync_folder(&self.path).map_err(io_error("sync", &self.path))?;
        fs::remove_dir_all(&self.path).map_err(io_error("remove", &self.path))?;
        Ok(())
    }
}

/// Seconds since 1970, for people; nothing is decided by it.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |duration| duration.as_secs())
}

#[cfg(test)]
mod tests;
