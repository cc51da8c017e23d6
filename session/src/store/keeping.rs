//! Which sessions expire, and a thread that sees to that.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rootfs_store::{Collected, Progress};

use super::{Chore, Enforced, Store, sessions};
use crate::about::About;
use crate::clock;
use crate::error::{Error, ErrorKind, Repr, one_line};
use crate::folder;
use crate::holding::Holding;
use crate::over::Over;
use crate::record::Record;

/// Rounds that follow each other faster would do nothing else than keep a store busy.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// What is done to keep a store in order: [`Housekeeping::default`] and then the fields that should be different.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Housekeeping {
    /// How often, at least a second; once a minute at first.
    pub interval: Duration,
    /// How long sessions are kept that were shut down and say nothing themselves ([`About::keep_for`]); for ever at first.
    /// Those that never ran are kept.
    pub keep_stopped: Option<Duration>,
    /// Blobs that nothing needs are removed when they are older than this; an hour at first, `None` is never.
    pub gc_grace: Option<Duration>,
}

impl Default for Housekeeping {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            keep_stopped: None,
            gc_grace: Some(Duration::from_secs(3600)),
        }
    }
}

/// What one round of housekeeping did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Kept {
    /// Sessions that reached a limit while nobody ran them.
    pub enforced: Vec<Enforced>,
    /// Sessions that had expired, and were removed.
    pub expired: Vec<String>,
    /// What nothing needed any more.
    pub collected: Option<Collected>,
}

impl Store {
    /// Changes what is noted of a session that nobody runs; [`Session::describe`](crate::Session::describe) does so for one
    /// that runs.
    ///
    /// # Errors
    /// - [`ErrorKind::NotFound`](crate::ErrorKind::NotFound): there is none of that id.
    /// - [`ErrorKind::Busy`](crate::ErrorKind::Busy): it is running.
    /// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): a title or label is not acceptable.
    pub fn describe_session(&self, id: &str, change: impl FnOnce(&mut About)) -> Result<(), Error> {
        let mut holding = Holding::take(self, id)?;
        let mut about = holding.record().about.clone();
        change(&mut about);
        about.check()?;
        holding.change(|record| record.about = about)
    }

    /// One round of housekeeping: clears away disks that processes left behind that died, enforces limits, removes sessions that have expired, and what nothing needs any more.
    /// Nothing happens before [`Chore::start`].
    pub fn clean(&self, what: &Housekeeping) -> Chore<Kept> {
        let (store, what) = (self.clone(), what.clone());
        Chore::new("clean", self.inner(), move |_, progress| {
            round(&store, &what, progress)
        })
    }

    /// Does [`clean`](Self::clean) every so often, on a thread of its own, for as long as the result lives; `report` is told
    /// how each round went. Rounds go on whatever becomes of one of them, or of `report`.
    ///
    /// # Errors
    /// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): the interval is less than a second.
    /// - [`ErrorKind::Host`](crate::ErrorKind::Host): no thread can be started.
    pub fn keep_house(
        &self,
        what: Housekeeping,
        report: impl Fn(&Result<Kept, Error>) + Send + 'static,
    ) -> Result<Housekeeper, Error> {
        let name = "housekeeper";
        if what.interval < MIN_INTERVAL {
            return Err(Repr::BadSetting {
                setting: "interval of housekeeping",
                value: format!("{:?}", what.interval),
                problem: "use a second or more",
            }
            .into());
        }
        let (store, over) = (self.clone(), Arc::<Over>::default());
        let signal = Arc::clone(&over);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            loop {
                let kept = unless_it_panics(name, || round(&store, &what, &()));
                let told = unless_it_panics(name, || {
                    report(&kept);
                    Ok(())
                });
                if let Err(error) = told {
                    tracing::error!(%error, "who is told of housekeeping panicked");
                }
                if signal.is_set_within(what.interval) {
                    return;
                }
            }
        });
        let thread = thread.map_err(|source| Repr::Thread { name, source })?;
        Ok(Housekeeper {
            over,
            thread: Some(thread),
        })
    }
}

fn round(store: &Store, what: &Housekeeping, progress: &dyn Progress) -> Result<Kept, Error> {
    sessions::sweep(store.inner());
    let enforced = super::limits::enforce_all(store, progress)?;
    let expired = expire(store, what)?;
    let collect = |grace| store.inner().gc(grace, progress);
    let collected = what.gc_grace.map(collect).transpose()?;
    Ok(Kept {
        enforced,
        expired,
        collected,
    })
}

/// What is done next to the store depends on nothing that a panic could have left half done: all of that is on the host's
/// disk, where processes die at any point.
fn unless_it_panics<T>(
    name: &'static str,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|_| Err(Repr::Panicked { name }.into()))
}

/// Removes the sessions that have expired. One that somebody has taken meanwhile stays.
fn expire(store: &Store, what: &Housekeeping) -> Result<Vec<String>, Error> {
    let now = clock::unix(store.clock());
    let mut expired = Vec::new();
    for id in folder::ids(store.dir())? {
        let has_expired = |record: &Record| has_expired(record, what.keep_stopped, now);
        if !folder::look(store.dir(), &id).is_ok_and(|(record, _)| has_expired(&record)) {
            continue;
        }
        match remove_if(store, &id, has_expired) {
            Ok(true) => expired.push(id),
            Ok(false) => {}
            Err(error) => {
                let error = one_line(&error);
                tracing::warn!(id, error, "a session that has expired could not be removed");
            }
        }
    }
    Ok(expired)
}

/// Removes a session that nobody else has and whose record still asks for that, now that nobody changes it any more.
fn remove_if(store: &Store, id: &str, asks: impl Fn(&Record) -> bool) -> Result<bool, Error> {
    let holding = match Holding::take(store, id) {
        Ok(holding) if asks(holding.record()) => holding,
        Ok(_) => return Ok(false),
        Err(error) if matches!(error.kind(), ErrorKind::Busy | ErrorKind::NotFound) => {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    holding.discard()?;
    Ok(true)
}

/// Whether a session was shut down for too long. One that never ran was not shut down.
fn has_expired(record: &Record, keep_stopped: Option<Duration>, now: u64) -> bool {
    let was_shut_down = !record.state.has_disk() && record.started.is_some();
    let keep_for = record.about.keep_for.or(keep_stopped);
    let rested = now.checked_sub(record.changed).map(Duration::from_secs);
    let is_over = rested
        .zip(keep_for)
        .is_some_and(|(rested, keep_for)| rested >= keep_for);
    was_shut_down && is_over && !record.about.pinned
}

/// Keeps a store in order until it is dropped, which waits for a round that is under way.
#[must_use = "housekeeping ends when this is dropped"]
pub struct Housekeeper {
    over: Arc<Over>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Housekeeper {
    fn drop(&mut self) {
        self.over.set();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl fmt::Debug for Housekeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Housekeeper").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
