//! From an origin to the cache file.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::super::cache::CacheFile;
use super::super::counters::add;
use super::super::origin::{Stop, WrongLength};
use super::super::patience::Patience;
use super::super::{Origin, OriginError, Part};
use super::flight::{Failure, Flight};
use super::{RemotePack, len};

/// Takes the pieces of a stream, each with its offset in the pack.
type Take<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), Stop>;

/// What a fetch brought.
pub(super) enum Got {
    /// The bytes of its range, and where they came from.
    Bytes(Vec<u8>, String),
    /// The cache file has the whole pack now, from there.
    Spooled(String),
    /// The bytes are in the cache file, or will be: somebody else fetches them.
    Joined,
}

/// What an origin gave.
enum Answer {
    Bytes(Vec<u8>),
    Whole,
    Joined,
}

impl RemotePack {
    /// Asks the origins in turn, those after the first `refused` before these, until one answers or patience ends.
    pub(super) fn download(
        &self,
        flight: &Flight,
        cache: Option<&CacheFile>,
        refused: usize,
        mut patience: Patience,
    ) -> Result<Got, Failure> {
        loop {
            let mut origins = self.origins();
            let turn = refused % origins.len().max(1);
            origins.rotate_left(turn);
            let failure = match self.ask_each(origins, flight, cache) {
                Err(failure) if !failure.is_final => failure,
                ended => return ended,
            };
            // A stream that was cut off has brought something.
            if flight.has_brought.swap(false, Ordering::Relaxed) {
                patience.renew();
            }
            let (pack, origin, error) = (self.digest, &failure.origin, &failure.error);
            tracing::warn!(%pack, %origin, %error, cause = ?std::error::Error::source(error), "could not fetch");
            if !patience.pause(error.retry_after()) {
                return Err(failure);
            }
            add(&self.access.counters.retries, 1);
            if self.lock().here.contains(&flight.wanted) {
                return Ok(Got::Joined);
            }
        }
    }

    /// Asks each origin once. Fails for good only if all do.
    fn ask_each(
        &self,
        origins: Vec<String>,
        flight: &Flight,
        cache: Option<&CacheFile>,
    ) -> Result<Got, Failure> {
        let mut worst: Option<Failure> = None;
        for origin in origins {
            let error = match self.ask(&origin, flight, cache) {
                Ok(Answer::Bytes(bytes)) => return Ok(Got::Bytes(bytes, origin)),
                Ok(Answer::Whole) => return Ok(Got::Spooled(origin)),
                Ok(Answer::Joined) => return Ok(Got::Joined),
                Err(error) => error,
            };
            let is_final = !error.is_transient();
            if worst.as_ref().is_none_or(|worst| worst.is_final) {
                worst = Some(Failure {
                    origin,
                    error,
                    is_final,
                });
            }
        }
        Err(worst.unwrap_or_else(|| {
            let error = OriginError::permanent(NoOrigins);
            Failure {
                origin: String::new(),
                error,
                is_final: true,
            }
        }))
    }

    /// The bytes of a range from one origin.
    fn ask(
        &self,
        origin: &str,
        flight: &Flight,
        cache: Option<&CacheFile>,
    ) -> Result<Answer, OriginError> {
        let counters = &self.access.counters;
        let access = &self.access.origin;
        add(&counters.requests, 1);
        let range = &flight.range;
        match access.read(origin, &self.digest, self.bytes, range.clone())? {
            Part::NoRanges => self.take_whole(&**access, origin, flight, cache),
            Part::Bytes(bytes) if bytes.len() == len(range) => {
                add(&counters.fetched_bytes, bytes.len() as u64);
                Ok(Answer::Bytes(bytes))
            }
            Part::Bytes(bytes) => Err(OriginError::transient(WrongLength {
                found: bytes.len() as u64,
                expected: range.end - range.start,
            })),
        }
    }

    /// Streams the whole pack into the cache file, once for all readers; without one, no more than a range.
    fn take_whole(
        &self,
        access: &dyn Origin,
        origin: &str,
        flight: &Flight,
        cache: Option<&CacheFile>,
    ) -> Result<Answer, OriginError> {
        if let Some(cache) = cache {
            {
                let mut state = self.lock();
                if state.is_spooling {
                    // Its bytes will come to this reader, too.
                    return Ok(Answer::Joined);
                }
                state.is_spooling = true;
            }
            let spooled = self.spool(access, origin, flight, cache);
            self.lock().is_spooling = false;
            self.changed.notify_all();
            if let Some(ended) = spooled {
                return ended.map(|()| Answer::Whole);
            }
        }
        let mut bytes = Vec::new();
        let mut take = |_: u64, piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok(())
        };
        self.stream(access, origin, flight.range.clone(), &mut take)?;
        Ok(Answer::Bytes(bytes))
    }

    /// Streams what follows the beginning that is here; nothing if it can't be kept.
    fn spool(
        &self,
        access: &dyn Origin,
        origin: &str,
        flight: &Flight,
        cache: &CacheFile,
    ) -> Option<Result<(), OriginError>> {
        let start = self.lock().here.end_from(0).unwrap_or(0);
        let mut is_full = false;
        let mut keep = |at: u64, piece: &[u8]| {
            if let Err(error) = cache.write(piece, at) {
                tracing::warn!(pack = %self.digest, %error, "can't keep what is fetched");
                is_full = true;
                return Err(Stop);
            }
            self.arrive(at..at + piece.len() as u64);
            flight.has_brought.store(true, Ordering::Relaxed);
            self.lock().arrived = Instant::now();
            Ok(())
        };
        let streamed = self.stream(access, origin, start..self.bytes, &mut keep);
        (!is_full).then_some(streamed)
    }

    /// Hands a stream's pieces to `take` with their offsets; whoever sends too much or too little fails.
    pub(in super::super) fn stream(
        &self,
        access: &dyn Origin,
        origin: &str,
        range: Range<u64>,
        take: Take<'_>,
    ) -> Result<(), OriginError> {
        if range.is_empty() {
            return Ok(());
        }
        let counters = &self.access.counters;
        let (mut at, mut is_too_long) = (range.start, false);
        let mut sink = |piece: &[u8]| {
            is_too_long = piece.len() as u64 > range.end - at;
            if is_too_long {
                return Err(Stop);
            }
            add(&counters.fetched_bytes, piece.len() as u64);
            take(at, piece)?;
            at += piece.len() as u64;
            Ok(())
        };
        add(&counters.requests, 1);
        let streamed = access.stream(origin, &self.digest, self.bytes, range.clone(), &mut sink);
        let expected = range.end - range.start;
        let wrong = |found| OriginError::transient(WrongLength { found, expected });
        match streamed {
            _ if is_too_long => Err(wrong(expected + 1)),
            Ok(()) if at != range.end => Err(wrong(at - range.start)),
            streamed => streamed,
        }
    }

    /// Ends a fetch: puts its bytes into the cache file, and lets those go on who waited for them.
    pub(super) fn land(
        &self,
        flight: &Arc<Flight>,
        got: Result<Got, Failure>,
        cache: Option<&CacheFile>,
    ) -> Result<Got, Failure> {
        let kept = match (&got, cache) {
            (Ok(Got::Bytes(bytes, _)), Some(cache)) => {
                let written = cache.write(bytes, flight.range.start);
                let written = written.inspect_err(
                    |error| tracing::warn!(pack = %self.digest, %error, "can't keep what was fetched"),
                );
                written.is_ok()
            }
            _ => false,
        };
        if let Err(failure) = &got {
            // Nobody else sets it.
            let _ = flight.failure.set(failure.clone());
        }
        let mut state = self.lock();
        state.landed += u64::from(cache.is_some());
        state.failed = match &got {
            Err(failure) if !failure.is_final => Some(Instant::now()),
            _ => None,
        };
        state.flights.retain(|other| !Arc::ptr_eq(other, flight));
        if kept {
            state.here.insert(flight.range.clone());
            state.unasked.insert(flight.range.clone());
            state.unasked.remove(&flight.wanted);
        }
        self.changed.notify_all();
        got
    }
}

/// A record names no origin, which its parser refuses.
#[derive(Debug, thiserror::Error)]
#[error("no origin is known")]
struct NoOrigins;
