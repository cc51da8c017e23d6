//! What is fetched of a session's disk while it runs: first what the last start read, later the rest if that was asked
//! for.
//!
//! Invariant: when this is dropped, no thread of it is left.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rootfs_store::{FillOptions, RemoteError, SnapshotDigest, Store, StoreError};

use crate::error::one_line;

/// How long after a guest is ready a fill leaves the registry to it, if no command has an answer before.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// How long a fill that failed waits until it is tried again.
const PAUSE: Duration = Duration::from_secs(30);

/// How the rest of a disk is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fill {
    /// Most bytes that are fetched in a second.
    pub(crate) bytes_per_second: Option<NonZeroU64>,
}

/// Threads that fetch a snapshot's packs.
pub(crate) struct Background {
    signal: Arc<Signal>,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads wait for.
#[derive(Default)]
struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The guest takes commands.
    is_ready: bool,
    /// A command has an answer.
    has_started: bool,
    is_over: bool,
}

impl Background {
    /// Begins to fetch what the last start from a snapshot read, if that is not in the store, and the rest once the guest
    /// has started. If anything fails, reads fetch what they need.
    pub(crate) fn begin(store: &Store, snapshot: &SnapshotDigest, fill: Option<Fill>) -> Self {
        let mut background = Self {
            signal: Arc::default(),
            threads: Vec::new(),
        };
        let is_here = store
            .elsewhere(snapshot)
            .is_ok_and(|packs| packs.is_empty());
        if is_here {
            return background;
        }
        let (store, snapshot) = (store.clone(), *snapshot);
        if let Ok(Some(profile)) = store.boot_profile(&snapshot) {
            let store = store.clone();
            background.spawn("fetch-ahead", move |signal| {
                let chunks: Vec<_> = profile.chunks().collect();
                fetch_ahead(&store, &snapshot, &chunks, signal);
            });
        }
        if let Some(fill) = fill {
            background.spawn("fill-disk", move |signal| {
                fill_disk(&store, &snapshot, fill, signal);
            });
        }
        background
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce(&Signal) + Send + 'static) {
        let signal = Arc::clone(&self.signal);
        let thread = thread::Builder::new().name(name.to_owned());
        match thread.spawn(move || work(&signal)) {
            Ok(thread) => self.threads.push(thread),
            Err(error) => tracing::warn!(%error, name, "could not fetch in the background"),
        }
    }

    /// The guest takes commands; its start ends soon.
    pub(crate) fn is_ready(&self) {
        self.signal.lock().is_ready = true;
        self.signal.changed.notify_all();
    }

    /// The guest has started: the rest may be fetched.
    pub(crate) fn has_started(&self) {
        self.signal.lock().has_started = true;
        self.signal.changed.notify_all();
    }

    /// Ends what is under way, without waiting for it.
    pub(crate) fn cancel(&self) {
        self.signal.lock().is_over = true;
        self.signal.changed.notify_all();
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.cancel();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that fetches in the background panicked");
            }
        }
    }
}

impl Signal {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// Waits until `is_due` or the end, for so long at most; whether it is not over.
    fn wait(&self, patience: Duration, is_due: impl Fn(&State) -> bool) -> bool {
        let state = self.lock();
        let waits = |state: &mut State| !state.is_over && !is_due(state);
        let waited = self.changed.wait_timeout_while(state, patience, waits);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !state.is_over
    }
}

fn fetch_ahead(store: &Store, snapshot: &SnapshotDigest, chunks: &[u64], signal: &Signal) {
    let is_cancelled = || signal.is_over();
    match store.prefetch(snapshot, chunks, &is_cancelled, &()) {
        Err(_) if signal.is_over() => {}
        Ok(fetched) => tracing::debug!(?fetched, "fetched what a start reads"),
        Err(error) => tracing::warn!(message = one_line(&error), "could not fetch ahead"),
    }
}

/// Fetches the rest of a disk, as often as it takes while its registry can't be reached.
fn fill_disk(store: &Store, snapshot: &SnapshotDigest, fill: Fill, signal: &Signal) {
    let is_cancelled = || signal.is_over();
    let options = FillOptions {
        bytes_per_second: fill.bytes_per_second,
        is_cancelled: &is_cancelled,
    };
    let is_ready = |state: &State| state.is_ready || state.has_started;
    let mut goes_on = signal.wait(Duration::MAX, is_ready)
        && signal.wait(START_PATIENCE, |state| state.has_started);
    while goes_on {
        match store.fill(snapshot, &options, &()) {
            Ok(filled) => {
                tracing::debug!(?filled, "fetched the rest of a disk");
                return;
            }
            Err(_) if signal.is_over() => return,
            Err(error) => {
                tracing::warn!(message = one_line(&error), "could not fill a disk");
                if !may_pass(&error) {
                    return;
                }
            }
        }
        goes_on = signal.wait(PAUSE, |_| false);
    }
}

/// Whether a fill that failed so may succeed later, without anybody's help.
fn may_pass(error: &StoreError) -> bool {
    matches!(error, StoreError::Remote(error) if matches!(**error, RemoteError::Unreachable { .. }))
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background")
            .field("threads", &self.threads.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
