//! What sessions take, which of them expire, and a thread that sees to both.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rootfs_store::{Collected, Progress, Root};

use super::{Chore, Enforced, SessionInfo, SessionState, Store};
use crate::about::About;
use crate::clock;
use crate::disks;
use crate::error::{Error, Repr, one_line};
use crate::holding::Holding;
use crate::over::Over;

/// What a session takes on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStorage {
    /// Its id.
    pub id: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Bytes of what its guest has written since its last snapshot.
    pub disk_bytes: u64,
    /// Bytes of its snapshot that nothing else needs: what its removal frees.
    pub snapshot_bytes: u64,
}

impl SessionStorage {
    /// Both together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.disk_bytes.saturating_add(self.snapshot_bytes)
    }
}

/// What is done to keep a store in order: [`Housekeeping::default`] and then the fields that should be different.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Housekeeping {
    /// How often; once a minute at first.
    pub interval: Duration,
    /// How long sessions are kept that were shut down and say nothing themselves ([`About::keep_for`]); for ever at first.
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

    /// Says what each session takes. Nothing happens before [`Chore::start`].
    pub fn storage(&self) -> Chore<Vec<SessionStorage>> {
        let store = self.clone();
        Chore::new("storage", self.inner(), move |_, _| storage(&store))
    }

    /// What all sessions together take that have a label, by its values.
    pub(crate) fn storage_of_label(&self, key: &str) -> Result<BTreeMap<String, u64>, Error> {
        let mut sums = BTreeMap::<String, u64>::new();
        for session in storage(self)? {
            if let Some(value) = session.labels.get(key) {
                let sum = sums.entry(value.clone()).or_default();
                *sum = sum.saturating_add(session.bytes());
            }
        }
        Ok(sums)
    }

    /// One round of housekeeping: enforces limits, removes sessions that have expired, and what nothing needs any more.
    /// Nothing happens before [`Chore::start`].
    pub fn clean(&self, what: &Housekeeping) -> Chore<Kept> {
        let (store, what) = (self.clone(), what.clone());
        Chore::new("clean", self.inner(), move |_, progress| {
            round(&store, &what, progress)
        })
    }

    /// Does [`clean`](Self::clean) every so often, on a thread of its own, for as long as the result lives; `report` is told
    /// how each round went.
    ///
    /// # Errors
    /// [`ErrorKind::Host`](crate::ErrorKind::Host) if no thread can be started.
    pub fn keep_house(
        &self,
        what: Housekeeping,
        report: impl Fn(&Result<Kept, Error>) + Send + 'static,
    ) -> Result<Housekeeper, Error> {
        let name = "housekeeper";
        let (store, over) = (self.clone(), Arc::<Over>::default());
        let signal = Arc::clone(&over);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            loop {
                report(&round(&store, &what, &()));
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

fn storage(store: &Store) -> Result<Vec<SessionStorage>, Error> {
    let usage = store.inner().usage()?;
    let sessions = store.sessions()?.into_iter().flatten();
    let each = sessions.map(|session| {
        let is_its_own = |roots: &[Root]| {
            roots.iter().all(|root| match root {
                Root::Name(name) => disks::is_name_of(&session.id, name),
                Root::Disk(disk) => disks::is_disk_of(&session.id, disk),
                _ => false,
            })
        };
        let snapshots = usage
            .snapshots
            .iter()
            .filter(|snapshot| is_its_own(&snapshot.roots));
        let disks = usage
            .disks
            .iter()
            .filter(|disk| disks::is_disk_of(&session.id, &disk.id));
        SessionStorage {
            disk_bytes: disks.map(|disk| disk.overlay_bytes).sum(),
            snapshot_bytes: snapshots.map(|snapshot| snapshot.alone_bytes).sum(),
            labels: session.about.labels,
            id: session.id,
        }
    });
    Ok(each.collect())
}

fn round(store: &Store, what: &Housekeeping, progress: &dyn Progress) -> Result<Kept, Error> {
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

/// Removes the sessions that have expired. One that somebody has taken meanwhile stays.
fn expire(store: &Store, what: &Housekeeping) -> Result<Vec<String>, Error> {
    let now = clock::unix(store.clock());
    let mut expired = Vec::new();
    for session in store.sessions()?.into_iter().flatten() {
        if !has_expired(&session, what.keep_stopped, now) {
            continue;
        }
        match store.remove_session(&session.id) {
            Ok(()) => expired.push(session.id),
            Err(error) => {
                let (id, error) = (session.id, one_line(&error));
                tracing::warn!(id, error, "a session that has expired could not be removed");
            }
        }
    }
    Ok(expired)
}

fn has_expired(session: &SessionInfo, keep_stopped: Option<Duration>, now: u64) -> bool {
    let is_at_rest = matches!(session.state, SessionState::Stopped | SessionState::Created);
    let keep_for = session.about.keep_for.or(keep_stopped);
    let rested = now.checked_sub(session.changed).map(Duration::from_secs);
    let is_over = rested
        .zip(keep_for)
        .is_some_and(|(rested, keep_for)| rested >= keep_for);
    is_at_rest && is_over && !session.about.pinned
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
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!("who was told of housekeeping panicked");
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
