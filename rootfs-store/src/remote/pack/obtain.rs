//! Bytes from the cache, or else from an origin; those that somebody else fetches are waited for.

use std::ops::Range;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::cache::CacheFile;
use super::super::counters::add;
use super::super::patience::Patience;
use super::super::{OriginError, RemoteError};
use super::download::{Download, Got};
use super::flight::{Failure, Flight};
use super::landing::Landing;
use super::{Doubt, Kind, RemotePack, State};
use crate::registry::{SLICE, is_wanted};

impl RemotePack {
    /// The bytes of `wanted`, and the origin that sent all of them just now, if one did. Origins that are in `doubt`
    /// are asked last.
    pub(super) fn obtain(
        &self,
        wanted: &Range<u64>,
        kind: Kind,
        doubt: Doubt,
    ) -> Result<(Vec<u8>, Option<String>), RemoteError> {
        let begun = Instant::now();
        let mut from = None;
        let mut state = self.lock();
        loop {
            let cache = self.cache(&mut state);
            if let Some(cache) = cache.as_ref().filter(|_| state.here.contains(wanted)) {
                self.count_hit(&mut state, wanted);
                drop(state);
                match cache.read_range(wanted) {
                    Ok(bytes) => return Ok((bytes, from)),
                    Err(error) => {
                        tracing::warn!(pack = %self.digest, %error, "can't read what was fetched")
                    }
                }
                state = self.lock();
                state.here.remove(wanted);
            }
            if let Some(flight) = state.in_the_way(wanted) {
                state = self.wait(state, &flight, begun)?;
                continue;
            }
            let flight = state.take_off(wanted, kind, self.bytes);
            // Nobody writes to a blob.
            let cache = cache.filter(|_| !state.is_sealed);
            let patience = self.patience(&state, begun);
            drop(state);
            let landing = Landing::new(self, &flight, cache.as_deref());
            let download = Download::new(self, &flight, cache.as_deref(), doubt, patience);
            let got = landing.land(download.run());
            match got.map_err(|failure| self.failed(failure, begun))? {
                Got::Bytes(bytes, origin) => {
                    if let Some(found) = self.join(wanted, &flight.range, &bytes, cache.as_deref())
                    {
                        let is_all =
                            flight.range.start <= wanted.start && wanted.end <= flight.range.end;
                        return Ok((found, origin.filter(|_| is_all)));
                    }
                    self.forget(wanted);
                }
                Got::Spooled(origin) => from = Some(origin),
                Got::Joined => {}
            }
            state = self.lock();
        }
    }

    /// How long a fetch may take for a reader that has waited since `begun`: as long as reads wait, or one try if the
    /// last one failed just now, as it may have waited for that outside of this pack.
    fn patience(&self, state: &State, begun: Instant) -> Patience {
        let limit = self.access.patience;
        let patience = Patience::new(limit).since(begun.max(state.arrived));
        match state.has_failed_lately(limit) {
            true => patience.once(),
            false => patience,
        }
    }

    /// The bytes of `wanted`, of which those in `range` are `fetched` and the others in the cache.
    fn join(
        &self,
        wanted: &Range<u64>,
        range: &Range<u64>,
        fetched: &[u8],
        cache: Option<&CacheFile>,
    ) -> Option<Vec<u8>> {
        let part = |part: Range<u64>| {
            let within = |at: u64| usize::try_from(at - range.start).ok();
            fetched.get(within(part.start)?..within(part.end)?)
        };
        let (start, end) = (wanted.start.max(range.start), wanted.end.min(range.end));
        let kept = |side: Range<u64>| match side.is_empty() {
            true => Some(Vec::new()),
            false => cache?.read_range(&side).ok(),
        };
        let mut bytes = kept(wanted.start..start)?;
        bytes.extend_from_slice(part(start..end)?);
        bytes.extend(kept(end..wanted.end)?);
        Some(bytes)
    }

    fn count_hit(&self, state: &mut State, wanted: &Range<u64>) {
        let counters = &self.access.counters;
        add(&counters.cached_bytes, wanted.end - wanted.start);
        if state.unasked.overlaps(wanted) {
            state.unasked.remove(wanted);
            add(&counters.ahead_frames, 1);
        }
    }

    /// Waits until something changes, at most for as long as a read waits for anything to come.
    fn wait<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        flight: &Flight,
        begun: Instant,
    ) -> Result<MutexGuard<'a, State>, RemoteError> {
        let left = |state: &State| {
            let since = begun.max(state.arrived);
            self.access.patience.checked_sub(since.elapsed())
        };
        let wait = left(&state).unwrap_or(Duration::ZERO);
        let waited = self.changed.wait_timeout(state, wait.min(SLICE));
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if !is_wanted() {
            let error = OriginError::stopped();
            return Err(self.failed(
                Failure {
                    origin: self.first_origin(),
                    error,
                    is_final: true,
                },
                begun,
            ));
        }
        match flight.failure.get() {
            Some(failure) if failure.is_final || left(&state).is_none() => {
                Err(self.failed(failure.clone(), begun))
            }
            None if left(&state).is_none() => {
                let error = OriginError::transient(Slow);
                Err(self.failed(Failure::transient(self.first_origin(), error), begun))
            }
            _ => Ok(state),
        }
    }

    pub(in super::super) fn failed(&self, failure: Failure, begun: Instant) -> RemoteError {
        let (pack, origin) = (self.digest, failure.origin);
        let source = failure.error;
        match failure.is_final {
            true => RemoteError::Refused {
                pack,
                origin,
                source,
            },
            false => RemoteError::Unreachable {
                pack,
                origin,
                waited: begun.elapsed(),
                source,
            },
        }
    }
}

/// Another reader waits for the same bytes.
#[derive(Debug, thiserror::Error)]
#[error("what another reader asked it for has not come yet")]
struct Slow;
