//! A range from origins: what one has brought, the next one is not asked for.

use std::ops::Range;
use std::time::Instant;

use super::super::cache::CacheFile;
use super::super::counters::add;
use super::super::origin::{Stop, WrongLength};
use super::super::patience::{Patience, TooSlow};
use super::super::{OriginError, Part};
use super::flight::{Failure, Flight};
use super::{Doubt, RemotePack, len};

/// What a fetch brought.
pub(super) enum Got {
    /// The bytes of its range, and where they came from, if that is one origin.
    Bytes(Vec<u8>, Option<String>),
    /// The cache file has the whole pack now, from there.
    Spooled(String),
    /// The bytes are in the cache file, or will be: somebody else fetches them.
    Joined,
}

/// What an origin gave.
pub(super) enum Answer {
    /// All that was missing.
    Complete,
    Whole,
    Joined,
}

/// A fetch that is under way.
pub(super) struct Download<'a> {
    pub(super) pack: &'a RemotePack,
    pub(super) flight: &'a Flight,
    /// Where a whole pack goes.
    pub(super) cache: Option<&'a CacheFile>,
    doubt: Doubt,
    pub(super) intake: Intake<'a>,
    /// The beginning of the range, as far as it came.
    pub(super) bytes: Vec<u8>,
    from: From,
}

/// Takes down that bytes come, and how fast.
pub(super) struct Intake<'a> {
    pack: &'a RemotePack,
    patience: Patience,
    too_slow: Option<TooSlow>,
}

/// Where the bytes of a fetch came from.
enum From {
    Nowhere,
    One(String),
    Several,
}

impl<'a> Download<'a> {
    /// A fetch that asks the origins in turn, those that `doubt` says have given damage last.
    pub(super) fn new(
        pack: &'a RemotePack,
        flight: &'a Flight,
        cache: Option<&'a CacheFile>,
        doubt: Doubt,
        patience: Patience,
    ) -> Self {
        Self {
            pack,
            flight,
            cache,
            doubt,
            intake: Intake {
                pack,
                patience,
                too_slow: None,
            },
            bytes: Vec::new(),
            from: From::Nowhere,
        }
    }

    /// Asks until all came, or patience ends.
    pub(super) fn run(mut self) -> Result<Got, Failure> {
        loop {
            let mut origins = self.pack.origins();
            let turn = self.doubt.refused % origins.len().max(1);
            origins.rotate_left(turn);
            let failure = match self.ask_each(origins) {
                Err(failure) if !failure.is_final => failure,
                ended => return ended,
            };
            if !self.pauses_after(&failure.error) {
                return Err(failure);
            }
            if self.is_here() {
                return Ok(Got::Joined);
            }
        }
    }

    /// Asks each origin once, for what those before it have not brought. Fails for good only if all do.
    fn ask_each(&mut self, origins: Vec<String>) -> Result<Got, Failure> {
        let mut worst: Option<Failure> = None;
        for origin in origins {
            let error = match self.ask(&origin) {
                Ok(Answer::Complete) => return Ok(self.complete()),
                Ok(Answer::Whole) => return Ok(Got::Spooled(origin)),
                Ok(Answer::Joined) => return Ok(Got::Joined),
                Err(error) => error,
            };
            let (pack, cause) = (self.pack.digest, std::error::Error::source(&error));
            tracing::warn!(%pack, %origin, %error, ?cause, "could not fetch");
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

    fn complete(&mut self) -> Got {
        let from = match std::mem::replace(&mut self.from, From::Nowhere) {
            From::One(origin) => Some(origin),
            From::Nowhere | From::Several => None,
        };
        Got::Bytes(std::mem::take(&mut self.bytes), from)
    }

    /// Pauses before something is tried again, if that is worth it; whether it did.
    fn pauses_after(&mut self, error: &OriginError) -> bool {
        let pauses = self.intake.patience.pause(error.retry_after());
        add(&self.pack.access.counters.retries, u64::from(pauses));
        pauses
    }

    /// Whether others have brought what this is for.
    fn is_here(&self) -> bool {
        self.pack.lock().here.contains(&self.flight.wanted)
    }

    /// What is missing of the range.
    pub(super) fn rest(&self) -> Range<u64> {
        let range = &self.flight.range;
        range.start + self.bytes.len() as u64..range.end
    }

    /// Asks one origin once for what is missing.
    fn ask(&mut self, origin: &str) -> Result<Answer, OriginError> {
        self.begin(origin);
        let (pack, rest, begins) = (self.pack, self.rest(), self.bytes.len());
        let (expected, mut is_too_long) = (len(&rest), false);
        let (bytes, intake) = (&mut self.bytes, &mut self.intake);
        let mut sink = |piece: &[u8]| {
            is_too_long = piece.len() > expected - (bytes.len() - begins);
            if is_too_long {
                return Err(Stop);
            }
            bytes.extend_from_slice(piece);
            add(&pack.access.counters.fetched_bytes, piece.len() as u64);
            intake.take(piece)
        };
        add(&pack.access.counters.requests, 1);
        let origins = &pack.access.origin;
        let read = origins.read(origin, &pack.digest, pack.bytes, rest, &mut sink);
        let read = read.map_err(|error| self.intake.failure(error));
        let found = self.bytes.len() - begins;
        let wrong = |found: usize| {
            let (found, expected) = (found as u64, expected as u64);
            Err(OriginError::transient(WrongLength { found, expected }))
        };
        let answer = match read {
            _ if is_too_long => wrong(expected + 1),
            Ok(Part::Complete) if found != expected => wrong(found),
            Ok(Part::Complete) => {
                self.came_from(origin);
                return Ok(Answer::Complete);
            }
            Ok(Part::NoRanges) => {
                self.bytes.truncate(begins);
                return self.take_whole(origin);
            }
            Err(error) if error.is_transient() && found > 0 => {
                self.came_from(origin);
                return match found == expected {
                    true => Ok(Answer::Complete),
                    false => Err(error),
                };
            }
            Err(error) => Err(error),
        };
        // Whoever counts wrong, or has another blob, has sent something else.
        self.bytes.truncate(begins);
        answer
    }

    /// Begins a request. A frame that was damaged before is fetched from one origin alone, so that it shows who lies.
    fn begin(&mut self, origin: &str) {
        self.intake.patience.ask();
        let is_other = !matches!(&self.from, From::One(known) if known == origin);
        if self.doubt.rounds > 0 && is_other {
            self.bytes.clear();
            self.from = From::Nowhere;
        }
    }

    pub(super) fn came_from(&mut self, origin: &str) {
        self.from = match std::mem::replace(&mut self.from, From::Several) {
            From::Nowhere => From::One(origin.to_owned()),
            From::One(known) if known == origin => From::One(known),
            From::One(_) | From::Several => From::Several,
        };
    }
}

impl Intake<'_> {
    /// Takes down that a piece came; whoever waits for it waits on, unless it is too little for that.
    pub(super) fn take(&mut self, piece: &[u8]) -> Result<(), Stop> {
        match self.patience.take(piece.len()) {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.pack.lock().arrived = Instant::now();
                Ok(())
            }
            Err(too_slow) => {
                self.too_slow = Some(too_slow);
                Err(Stop)
            }
        }
    }

    /// Why a request failed.
    pub(super) fn failure(&mut self, error: OriginError) -> OriginError {
        self.too_slow.take().map_or(error, OriginError::transient)
    }
}

/// A record names no origin, which its parser refuses.
#[derive(Debug, thiserror::Error)]
#[error("no origin is known")]
struct NoOrigins;
