//! Fetches that are under way.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::super::OriginError;
use super::{Kind, State};

/// Bytes that somebody is fetching.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) range: Range<u64>,
    /// What they are fetched for.
    pub(super) wanted: Range<u64>,
    /// Nobody reads them yet.
    pub(super) is_ahead: bool,
    /// Set before it ends, if it does so without them.
    pub(super) failure: OnceLock<Failure>,
}

/// Why bytes could not be had.
#[derive(Debug, Clone)]
pub(in super::super) struct Failure {
    pub(in super::super) origin: String,
    pub(in super::super) error: OriginError,
    /// It makes no sense to try again.
    pub(in super::super) is_final: bool,
}

impl Failure {
    pub(in super::super) fn transient(origin: String, error: OriginError) -> Self {
        Self {
            origin,
            error,
            is_final: false,
        }
    }
}

impl State {
    /// The fetch that must end before `wanted` can be fetched.
    pub(super) fn in_the_way(&self, wanted: &Range<u64>) -> Option<Arc<Flight>> {
        let overlaps = |flight: &&Arc<Flight>| {
            let range = &flight.range;
            self.is_spooling || range.start < wanted.end && wanted.start < range.end
        };
        self.flights.iter().find(overlaps).cloned()
    }

    /// Begins a fetch of what is missing of `wanted`, and of what will be read next.
    pub(super) fn take_off(
        &mut self,
        wanted: &Range<u64>,
        kind: Kind,
        pack_bytes: u64,
    ) -> Arc<Flight> {
        let missing = self.here.missing(wanted.clone());
        let ends = missing.first().zip(missing.last());
        let missing = ends.map_or(wanted.clone(), |(first, last)| first.start..last.end);
        let range = match kind {
            Kind::Alone | Kind::Ahead => missing,
            Kind::Page => {
                let around = self.ahead.pages(&missing);
                let end = around.end.min(self.taken_from(missing.end));
                around.start.max(self.taken_before(missing.start))..end.min(pack_bytes)
            }
            Kind::Chunk => {
                let unasked = |range| self.unasked.bytes_in(range);
                let window = self.ahead.window(&missing, unasked);
                let end = window.end.min(self.taken_from(missing.end));
                missing.start..end.min(pack_bytes)
            }
        };
        let flight = Arc::new(Flight {
            range,
            wanted: wanted.clone(),
            is_ahead: kind == Kind::Ahead,
            failure: OnceLock::new(),
        });
        self.flights.push(Arc::clone(&flight));
        flight
    }

    /// The end of what is here, or on its way, before `at`.
    fn taken_before(&self, at: u64) -> u64 {
        let ends = self.flights.iter().map(|flight| flight.range.end);
        let flying = ends.filter(|end| *end <= at).max();
        flying.max(self.here.end_before(at)).unwrap_or(0)
    }

    /// The start of what is here, or on its way, from `at` on.
    fn taken_from(&self, at: u64) -> u64 {
        let starts = self.flights.iter().map(|flight| flight.range.start);
        let flying = starts.filter(|start| *start >= at).min();
        let here = self.here.start_from(at);
        flying.into_iter().chain(here).min().unwrap_or(u64::MAX)
    }
}
