//! How much sessions may take.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use rustix::fs::statvfs;

use crate::error::{Error, Repr};
use crate::folder;
use crate::store::{Storage, Store};

/// The file in the store's folder that is locked by whoever makes a session.
const LOCK: &str = "sessions.lock";

/// Room for what a shutdown still has to write, unless it is said otherwise.
const DEFAULT_RESERVE: u64 = 512 << 20;

/// How much the sessions of a store may take: [`Quotas::default`] and then the fields that should be different. What would
/// pass a quota is refused with [`ErrorKind::Quota`](crate::ErrorKind::Quota) before anything is made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quotas {
    /// How many sessions there may be, running or not; any number at first.
    pub sessions: Option<usize>,
    /// How many bytes a running session's writes may take on the host since its start, or since its last snapshot; any
    /// number at first. A session that passes it is told of by [`Event::QuotaReached`](crate::Event::QuotaReached), and
    /// shut down.
    pub bytes_per_run: Option<u64>,
    /// How many bytes all sessions may take that have the same value of a label, by the label's key; no such limits at first.
    /// No session of a value that takes as much starts.
    pub bytes_per_label: BTreeMap<String, u64>,
    /// How much of the host's disk stays free, in bytes; 512 MiB at first. With less, no session is made or starts. Those
    /// that run may write slowly then, a 64th of this a second, so that there is room to shut them down: at once what goes
    /// on writing, and with half of this left whatever runs.
    pub host_reserve: u64,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            sessions: None,
            bytes_per_run: None,
            bytes_per_label: BTreeMap::new(),
            host_reserve: DEFAULT_RESERVE,
        }
    }
}

/// Refuses another session where there are too many, or no room for what is made of it. Until the result is dropped nobody
/// else may make one, in whatever process.
pub(crate) fn check_new(store: &Store) -> Result<Creating, Error> {
    let creating = Creating::begin(store.dir())?;
    check_room(store)?;
    let Some(limit) = store.quotas().sessions else {
        return Ok(creating);
    };
    let used = folder::ids(store.dir())?.len();
    if used < limit {
        return Ok(creating);
    }
    let what = "sessions of the store".to_owned();
    Err(over(what, used as u64, limit as u64))
}

/// Held by who makes a session, from when it was counted how many there are until it is one of them.
#[derive(Debug)]
#[must_use = "others may make sessions when this is dropped"]
pub(crate) struct Creating {
    _lock: File,
}

impl Creating {
    fn begin(store: &Path) -> Result<Self, Error> {
        let path = store.join(LOCK);
        let locked = File::create(&path).and_then(|file| file.lock().map(|()| file));
        let lock = locked.map_err(|source| Repr::Io {
            action: "lock",
            path,
            source,
        })?;
        Ok(Self { _lock: lock })
    }
}

/// Refuses a start for which there is no room.
pub(crate) fn check_start(store: &Store, labels: &BTreeMap<String, String>) -> Result<(), Error> {
    check_room(store)?;
    let limits = store.quotas().bytes_per_label.iter();
    let limits: Vec<_> = limits
        .filter_map(|(key, limit)| Some((key, labels.get(key)?, *limit)))
        .collect();
    if limits.is_empty() {
        return Ok(());
    }
    let storage = Storage::look(store)?;
    for (key, value, limit) in limits {
        let used = storage.bytes_of_label(key, value);
        if used >= limit {
            let what = format!("bytes of sessions with {key}={value}");
            return Err(over(what, used, limit));
        }
    }
    Ok(())
}

fn check_room(store: &Store) -> Result<(), Error> {
    let free = free_bytes(store.dir())?;
    let reserve = store.quotas().host_reserve;
    if free >= reserve {
        return Ok(());
    }
    let folder = store.dir().to_owned();
    Err(Repr::HostFull {
        folder,
        free,
        reserve,
    }
    .into())
}

/// Bytes that are free on the disk that holds `folder`.
pub(crate) fn free_bytes(folder: &Path) -> Result<u64, Error> {
    let stat = statvfs(folder).map_err(|source| Repr::Io {
        action: "look for room in",
        path: folder.to_owned(),
        source: source.into(),
    })?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn over(what: String, used: u64, limit: u64) -> Error {
    Repr::OverQuota { what, used, limit }.into()
}

#[cfg(test)]
mod tests;
