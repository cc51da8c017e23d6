//! Sessions whose process is gone: their disks made snapshots, and their limits enforced.

use std::time::Duration;

use rootfs_store::Progress;

use super::{Chore, SessionInfo, Store};
use crate::builder::SessionBuilder;
use crate::clock;
use crate::error::Error;
use crate::folder;
use crate::holding::Holding;
use crate::limits::{AtEnd, Limit};
use crate::record::Record;

/// What became of a session whose limit was reached while nobody ran it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Enforced {
    /// Its id.
    pub id: String,
    /// Which limit.
    pub limit: Limit,
    /// What was done: its disk was made its snapshot, or it was thrown away.
    pub result: Result<AtEnd, Error>,
}

impl Store {
    /// A new session that begins with the disk of one that was shut down, on a machine like that one's. For a session that
    /// runs, [`Session::fork`](crate::Session::fork) does this.
    ///
    /// # Errors
    /// - [`ErrorKind::NotFound`](crate::ErrorKind::NotFound): there is no session of that id.
    /// - [`ErrorKind::Busy`](crate::ErrorKind::Busy): it was not shut down.
    pub fn fork(&self, id: &str) -> Result<SessionBuilder, Error> {
        let (record, locked) = folder::look(self.dir(), id)?;
        SessionInfo::new(record.clone(), locked).at_rest()?;
        SessionBuilder::like(self, record)
    }

    /// Makes a snapshot of the disk of a session that was cut off, as a shutdown would have done, without starting it. Its
    /// next start then replays the file system's journal. Does nothing to a session that is stopped. Nothing happens
    /// before [`Chore::start`].
    pub fn settle(&self, id: impl Into<String>) -> Chore<SessionInfo> {
        let (store, id) = (self.clone(), id.into());
        Chore::new("settle", self.inner(), move |_, progress| {
            Holding::take(&store, &id)?.settle(progress)?;
            store.session(&id)
        })
    }

    /// Does what their limits ask for to sessions whose process died, and whose time has passed since: by the time of day,
    /// so a clock that was set back only makes them wait. Sessions that run see to themselves. Nothing happens before
    /// [`Chore::start`].
    pub fn enforce_limits(&self) -> Chore<Vec<Enforced>> {
        let store = self.clone();
        Chore::new("enforce limits", self.inner(), move |_, progress| {
            enforce_all(&store, progress)
        })
    }
}

pub(super) fn enforce_all(store: &Store, progress: &dyn Progress) -> Result<Vec<Enforced>, Error> {
    let mut enforced = Vec::new();
    for session in store.sessions()?.into_iter().flatten() {
        if !session.state.is_cut_off() {
            continue;
        }
        // Somebody may be faster, which is just as well.
        if let Ok(holding) = Holding::take(store, &session.id)
            && let Some(limit) = overdue(store, &holding)
        {
            let id = session.id;
            let result = enforce(holding, progress);
            enforced.push(Enforced { id, limit, result });
        }
    }
    Ok(enforced)
}

fn enforce(mut holding: Holding, progress: &dyn Progress) -> Result<AtEnd, Error> {
    let at_end = holding.record().limits.at_end;
    match at_end {
        AtEnd::Shutdown => holding.settle(progress)?,
        AtEnd::Terminate => holding.discard()?,
    }
    Ok(at_end)
}

/// The limit that a session has passed which does not run.
fn overdue(store: &Store, holding: &Holding) -> Option<Limit> {
    let record = holding.record();
    if !record.state.has_disk() {
        return None;
    }
    let beat = holding.folder().last_beat().map_or(0, clock::unix_of);
    limit_passed(record, beat, clock::unix(store.clock()))
}

/// All times in seconds since 1970; `beat` is the last sign of life.
fn limit_passed(record: &Record, beat: u64, now: u64) -> Option<Limit> {
    let passed = |since: u64, limit: Duration| {
        now.checked_sub(since)
            .is_some_and(|passed| Duration::from_secs(passed) >= limit)
    };
    let uptime = record.limits.max_uptime.zip(record.started);
    if uptime.is_some_and(|(limit, started)| passed(started, limit)) {
        return Some(Limit::Uptime);
    }
    let idle = record.limits.idle.as_ref();
    let last_use = beat.max(record.changed);
    idle.is_some_and(|idle| passed(last_use, idle.after))
        .then_some(Limit::Idle)
}

#[cfg(test)]
mod tests;
