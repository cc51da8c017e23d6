//! How much sessions may take.

use std::collections::BTreeMap;
use std::path::Path;

use rustix::fs::statvfs;

use crate::error::{Error, Repr};
use crate::store::Store;

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
    /// How much of the host's disk stays free, in bytes; 512 MiB at first. With less, no session starts, and those that run
    /// are shut down while there is room for that.
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

/// Refuses another session where there are too many.
pub(crate) fn check_new(store: &Store) -> Result<(), Error> {
    let Some(limit) = store.quotas().sessions else {
        return Ok(());
    };
    let used = store.sessions()?.len();
    if used < limit {
        return Ok(());
    }
    let what = "sessions of the store".to_owned();
    Err(over(what, used as u64, limit as u64))
}

/// Refuses a start for which there is no room.
pub(crate) fn check_start(store: &Store, labels: &BTreeMap<String, String>) -> Result<(), Error> {
    let free = free_bytes(store.dir())?;
    let reserve = store.quotas().host_reserve;
    if free < reserve {
        let folder = store.dir().to_owned();
        return Err(Repr::HostFull {
            folder,
            free,
            reserve,
        }
        .into());
    }
    for (key, limit) in &store.quotas().bytes_per_label {
        let Some(value) = labels.get(key) else {
            continue;
        };
        let used = store
            .storage_of_label(key)?
            .get(value)
            .copied()
            .unwrap_or_default();
        if used >= *limit {
            return Err(over(
                format!("bytes of sessions with {key}={value}"),
                used,
                *limit,
            ));
        }
    }
    Ok(())
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
