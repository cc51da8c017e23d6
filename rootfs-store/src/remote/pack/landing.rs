//! Ends of fetches.
//!
//! Invariant: every fetch that took off lands, whatever becomes of the origin's code, so that nobody waits for ever.

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use super::super::OriginError;
use super::super::cache::CacheFile;
use super::download::Got;
use super::flight::{Failure, Flight};
use super::{Failed, RemotePack, State};
use crate::registry::is_wanted;

/// Who begins so soon after a failure may have waited for it.
const FAILED_LATELY: Duration = Duration::from_secs(1);

/// A fetch that has not ended.
pub(super) struct Landing<'a> {
    pack: &'a RemotePack,
    flight: &'a Arc<Flight>,
    /// Where its bytes go.
    cache: Option<&'a CacheFile>,
    is_over: bool,
}

impl<'a> Landing<'a> {
    pub(super) fn new(
        pack: &'a RemotePack,
        flight: &'a Arc<Flight>,
        cache: Option<&'a CacheFile>,
    ) -> Self {
        Self {
            pack,
            flight,
            cache,
            is_over: false,
        }
    }

    /// Ends the fetch: puts its bytes into the cache file, and lets those go on who waited for them.
    pub(super) fn land(mut self, got: Result<Got, Failure>) -> Result<Got, Failure> {
        let is_kept = match (&got, self.cache) {
            (Ok(Got::Bytes(bytes, _)), Some(cache)) => self.keep(cache, bytes),
            _ => false,
        };
        let mut state = self.end(got.as_ref().err().map(for_others));
        match &got {
            Ok(_) => state.failed = None,
            // That nobody waited for them says nothing of those who do.
            Err(_) if self.flight.is_ahead => {}
            Err(failure) if failure.is_final => state.failed = None,
            Err(_) => state.note_failure(self.pack.access.patience),
        }
        if is_kept {
            let range = &self.flight.range;
            state.here.insert(range.clone());
            state.unasked.insert(range.clone());
            state.unasked.remove(&self.flight.wanted);
        }
        drop(state);
        got
    }

    fn keep(&self, cache: &CacheFile, bytes: &[u8]) -> bool {
        let written = cache.write(bytes, self.flight.range.start);
        let written = written.inspect_err(|error| {
            tracing::warn!(pack = %self.pack.digest, %error, "can't keep what was fetched");
        });
        written.is_ok()
    }

    /// Takes the flight out of the way of others, who see that once they get the state.
    fn end(&mut self, failure: Option<Failure>) -> MutexGuard<'a, State> {
        self.is_over = true;
        if let Some(failure) = failure {
            // Nobody else sets it.
            let _ = self.flight.failure.set(failure);
        }
        let pack = self.pack;
        let mut state = pack.lock();
        state.landed += u64::from(self.cache.is_some());
        let flight = self.flight;
        state.flights.retain(|other| !Arc::ptr_eq(other, flight));
        pack.changed.notify_all();
        state
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let error = OriginError::transient(BrokenOff);
            let failure = Failure::transient(self.pack.first_origin(), error);
            drop(self.end(Some(failure)));
        }
    }
}

/// What those hear of a failure who waited for the same bytes: that the thread which fetched them need not go on is no
/// reason for them to give up.
fn for_others(failure: &Failure) -> Failure {
    match is_wanted() {
        true => failure.clone(),
        false => Failure::transient(failure.origin.clone(), OriginError::transient(BrokenOff)),
    }
}

impl State {
    /// Takes down the failure of a read, which others may have waited for outside of the pack, one behind the other.
    fn note_failure(&mut self, patience: Duration) {
        let now = Instant::now();
        let is_chain = self.has_failed_lately(patience);
        let first = self.failed.filter(|_| is_chain);
        let first = first.map_or(now, |failed| failed.first);
        self.failed = Some(Failed { first, last: now });
    }

    /// Whether reads failed just now, after one that had waited for all of its `patience`; so long after that one did,
    /// another one waits for all of it.
    pub(super) fn has_failed_lately(&self, patience: Duration) -> bool {
        let is_lately = |failed: Failed| {
            failed.last.elapsed() < FAILED_LATELY && failed.first.elapsed() < patience
        };
        self.failed.is_some_and(is_lately)
    }
}

/// The code that reads from an origin panicked, or was told to end.
#[derive(Debug, thiserror::Error)]
#[error("a read of it was broken off")]
struct BrokenOff;
