//! The folder of one session below the store: its record, its console log, and the lock that says it is alive.
//!
//! Invariant: whoever changes the record or the disk of a session holds its lock; the lock ends with the
//! process that holds it, so a session that is `Open` and not locked was cut off. A folder without a record is
//! no session: it is just being made, just being removed, or left over from a process that died at that.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::console::{ConsoleFiles, ConsoleLog};
use crate::error::{Error, Repr};
use crate::record::{self, Record};

mod lock;

use lock::Lock;

/// Below the store's folder.
const SESSIONS: &str = "sessions";

/// What the name of a folder begins with that is being removed; no id begins like this.
const REMOVED: &str = ".removed-";

/// How often the folder of a new session is made again when others remove it under our hands.
const CREATE_TRIES: usize = 16;

/// A session's folder, locked for as long as this value lives.
#[derive(Debug)]
pub(crate) struct LockedFolder {
    path: PathBuf,
    lock: Lock,
}

/// The ids of all sessions, sorted.
pub(crate) fn ids(store: &Path) -> Result<Vec<String>, Error> {
    names(store, true)
}

/// The names of all folders that hold no record, sorted.
pub(crate) fn leftovers(store: &Path) -> Result<Vec<String>, Error> {
    names(store, false)
}

/// The names of the folders that hold a record, or of those that don't.
fn names(store: &Path, with_record: bool) -> Result<Vec<String>, Error> {
    let sessions = store.join(SESSIONS);
    let entries = match fs::read_dir(&sessions) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("list", &sessions)(error).into()),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io_error("list", &sessions))?;
        let name = entry.file_name().into_string();
        let Some(name) = name.ok().filter(|name| crate::id::check(name).is_ok()) else {
            continue;
        };
        // What can't be looked into is there, and is no leftover.
        if has_record(&entry.path()).unwrap_or(true) == with_record {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Whether there is a record. That it could not be looked for is no answer: what has none is cleared away.
fn has_record(folder: &Path) -> Result<bool, Error> {
    let path = folder.join(record::FILE);
    Ok(path.try_exists().map_err(io_error("find", &path))?)
}

/// Removes what is left of sessions that were being removed when their process died.
pub(crate) fn sweep_removed(store: &Path) {
    let sessions = store.join(SESSIONS);
    for entry in fs::read_dir(&sessions).into_iter().flatten().flatten() {
        let removed = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(REMOVED.as_bytes());
        if removed && let Err(error) = remove_grave(&entry.path()) {
            tracing::warn!(%error, path = %entry.path().display(), "could not remove a left-over");
        }
    }
}

/// Reads the record of `id` and says whether a process holds the session.
pub(crate) fn look(store: &Path, id: &str) -> Result<(Record, bool), Error> {
    let path = existing(store, id)?;
    // Nobody changes the record while this lock is held, so both answers are of the same moment.
    let looked = Lock::try_shared(&path)
        .map_err(|error| lock_error(&path)(error).into())
        .and_then(|lock| Ok((Record::read(&path)?, lock.is_none())));
    match looked {
        // Removed since it was found.
        Err(_) if !has_record(&path)? => Err(Repr::NoSession { id: id.to_owned() }.into()),
        Ok((record, _)) if record.id != id => Err(Repr::RecordDamaged {
            path: path.join(record::FILE),
            what: "it is the record of another session",
        }
        .into()),
        looked => looked,
    }
}

/// Reads the console log of `id`.
pub(crate) fn console_log(store: &Path, id: &str) -> Result<ConsoleLog, Error> {
    let path = existing(store, id)?;
    Ok(ConsoleLog::read(&path).map_err(io_error("read the console log in", &path))?)
}

/// Makes the folder of a new session and locks it.
pub(crate) fn create(store: &Path, id: &str) -> Result<LockedFolder, Error> {
    let sessions = store.join(SESSIONS);
    if !sessions.is_dir() {
        fs::create_dir_all(&sessions).map_err(io_error("create", &sessions))?;
        record::sync_folder(store).map_err(io_error("sync", store))?;
    }
    let path = sessions.join(id);
    for _ in 0..CREATE_TRIES {
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io_error("create", &path)(error).into());
            }
            _ => {}
        }
        record::sync_folder(&sessions).map_err(io_error("sync", &sessions))?;
        if let Some(folder) = lock_new(&path, id)? {
            return Ok(folder);
        }
    }
    Err(Repr::SessionBusy { id: id.to_owned() }.into())
}

/// Locks a folder that must not be a session yet; `None` if it is gone again.
fn lock_new(path: &Path, id: &str) -> Result<Option<LockedFolder>, Error> {
    let taken = || Repr::SessionExists { id: id.to_owned() };
    match Lock::try_exclusive(path) {
        Ok(Some(_)) if has_record(path)? => Err(taken().into()),
        Ok(Some(lock)) => Ok(Some(LockedFolder {
            path: path.to_owned(),
            lock,
        })),
        Ok(None) => Err(taken().into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(lock_error(path)(error).into()),
    }
}

/// Locks the folder of a session that exists.
pub(crate) fn open(store: &Path, id: &str) -> Result<LockedFolder, Error> {
    let path = existing(store, id)?;
    let folder = lock(&path, id)?;
    // It may have been removed just before it was locked.
    existing(store, id)?;
    Ok(folder)
}

/// Locks what a process left behind that died while it made or removed a session; `None` if it is a session now,
/// or someone is at it.
pub(crate) fn open_leftover(store: &Path, id: &str) -> Option<LockedFolder> {
    let path = store.join(SESSIONS).join(id);
    let lock = Lock::try_exclusive(&path).ok()??;
    let is_session = has_record(&path).ok()?;
    (!is_session).then_some(LockedFolder { path, lock })
}

/// Where the folder of `id` is, which has a record.
pub(crate) fn existing(store: &Path, id: &str) -> Result<PathBuf, Error> {
    crate::id::check(id)?;
    let path = store.join(SESSIONS).join(id);
    if has_record(&path)? {
        Ok(path)
    } else {
        Err(Repr::NoSession { id: id.to_owned() }.into())
    }
}

fn lock(path: &Path, id: &str) -> Result<LockedFolder, Error> {
    match Lock::try_exclusive(path) {
        Ok(Some(lock)) => Ok(LockedFolder {
            path: path.to_owned(),
            lock,
        }),
        Ok(None) => Err(Repr::SessionBusy { id: id.to_owned() }.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Repr::NoSession { id: id.to_owned() }.into())
        }
        Err(error) => Err(lock_error(path)(error).into()),
    }
}

fn lock_error(folder: &Path) -> impl Fn(io::Error) -> Repr + use<> {
    io_error("lock", folder)
}

fn io_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Repr + use<> {
    let path = path.to_owned();
    move |source| Repr::Io {
        action,
        path: path.clone(),
        source,
    }
}

impl LockedFolder {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the session's record.
    pub(crate) fn record(&self) -> Result<Record, Error> {
        Record::read(&self.path)
    }

    /// Writes the session's record, durably.
    pub(crate) fn write(&self, record: &Record) -> Result<(), Error> {
        record.write(&self.path)
    }

    /// Starts a new console log.
    pub(crate) fn console(&self) -> Result<ConsoleFiles, Error> {
        let created = ConsoleFiles::create(&self.path);
        Ok(created.map_err(io_error("start a console log in", &self.path))?)
    }

    /// Notes that the session is alive at `time`. It need not be durable: without it the session counts as out of use
    /// since its state changed.
    pub(crate) fn beat(&self, time: SystemTime) {
        if let Err(error) = self.lock.beat(time) {
            tracing::debug!(%error, "could not leave a sign of life");
        }
    }

    /// When the session was last alive, as far as is known.
    pub(crate) fn last_beat(&self) -> Option<SystemTime> {
        self.lock.last_beat().ok()
    }

    /// Removes the record, durably: from then on this is no session any more.
    pub(crate) fn remove_record(&self) -> Result<(), Error> {
        let record = self.path.join(record::FILE);
        match fs::remove_file(&record) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("remove", &record)(error).into());
            }
            _ => {}
        }
        Ok(record::sync_folder(&self.path).map_err(io_error("sync", &self.path))?)
    }

    /// Removes the folder, after [`remove_record`](Self::remove_record). If this fails it may be tried again.
    ///
    /// It goes out of the way as a whole first, so that nobody who just looks makes a file in it meanwhile. From then on
    /// its name may be another session's, and what is left of it is cleared away by [`sweep_removed`] at the latest.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let grave = self.path.with_file_name(format!("{REMOVED}{name}"));
        remove_grave(&grave).map_err(io_error("remove", &grave))?;
        fs::rename(&self.path, &grave).map_err(io_error("remove", &self.path))?;
        if let Err(error) = remove_grave(&grave) {
            tracing::warn!(%error, path = %grave.display(), "could not remove a left-over");
        }
        Ok(())
    }
}

/// Removes a folder that is out of the way. Others sweep, too.
fn remove_grave(grave: &Path) -> io::Result<()> {
    match fs::remove_dir_all(grave) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
