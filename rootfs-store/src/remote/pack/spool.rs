//! Whole packs, from origins that know no ranges.

use std::ops::Range;

use super::super::cache::CacheFile;
use super::super::counters::add;
use super::super::origin::{Stop, WrongLength};
use super::super::{Origin, OriginError};
use super::RemotePack;
use super::download::{Answer, Download};

/// Takes the pieces of a stream, each with its offset in the pack.
type Take<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), Stop>;

/// Held by the only one who streams a whole pack.
struct Spooling<'a>(&'a RemotePack);

impl<'a> Spooling<'a> {
    /// Nothing if somebody else does.
    fn begin(pack: &'a RemotePack) -> Option<Self> {
        let was_spooling = std::mem::replace(&mut pack.lock().is_spooling, true);
        // Not made otherwise, as it would end the other one.
        (!was_spooling).then(|| Self(pack))
    }
}

impl Drop for Spooling<'_> {
    fn drop(&mut self) {
        self.0.lock().is_spooling = false;
        self.0.changed.notify_all();
    }
}

impl Download<'_> {
    /// Streams the whole pack into the cache file, once for all readers; without one, no more than the range.
    pub(super) fn take_whole(&mut self, origin: &str) -> Result<Answer, OriginError> {
        if let Some(cache) = self.cache {
            let Some(spooling) = Spooling::begin(self.pack) else {
                // Its bytes will come to this reader, too.
                return Ok(Answer::Joined);
            };
            let spooled = self.spool(origin, cache);
            drop(spooling);
            if let Some(ended) = spooled {
                return ended.map(|()| Answer::Whole);
            }
        }
        let (pack, rest, begins) = (self.pack, self.rest(), self.bytes.len());
        let (bytes, intake) = (&mut self.bytes, &mut self.intake);
        let mut take = |_: u64, piece: &[u8]| {
            bytes.extend_from_slice(piece);
            intake.take(piece)
        };
        let streamed = pack.stream(&*pack.access.origin, origin, rest, &mut take);
        if self.bytes.len() > begins {
            self.came_from(origin);
        }
        match streamed {
            Ok(()) => Ok(Answer::Complete),
            Err(error) => Err(self.intake.failure(error)),
        }
    }

    /// Streams what follows the beginning that is here; nothing if it can't be kept.
    fn spool(&mut self, origin: &str, cache: &CacheFile) -> Option<Result<(), OriginError>> {
        let (pack, intake) = (self.pack, &mut self.intake);
        let start = pack.lock().here.end_from(0).unwrap_or(0);
        let mut is_full = false;
        let mut keep = |at: u64, piece: &[u8]| {
            if let Err(error) = cache.write(piece, at) {
                tracing::warn!(pack = %pack.digest, %error, "can't keep what is fetched");
                is_full = true;
                return Err(Stop);
            }
            pack.arrive(at..at + piece.len() as u64);
            intake.take(piece)
        };
        let streamed = pack.stream(&*pack.access.origin, origin, start..pack.bytes, &mut keep);
        let streamed = streamed.map_err(|error| self.intake.failure(error));
        (!is_full).then_some(streamed)
    }
}

impl RemotePack {
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
}
