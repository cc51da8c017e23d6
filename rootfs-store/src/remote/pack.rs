//! One pack that is elsewhere: what is here of it, and what is on its way.
//!
//! Invariant: bytes are counted as here only after they were written to the cache file, and two fetches never overlap.
//! That they are the right ones is for the reader of a frame to see; wrong ones are fetched again.

mod download;
mod flight;
mod landing;
mod obtain;
mod spool;
mod whole;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::ahead::ReadAhead;
use super::cache::CacheFile;
use super::counters::add;
use super::fill::Turns;
use super::ranges::Ranges;
use super::{Access, MAX_READ_BYTES, RemoteError, RemoteRecord};
use crate::chunk::FrameError;
use crate::digest::BlobDigest;
use crate::pack::MAX_FRAME_BYTES;
pub(super) use flight::Failure;
use flight::Flight;

/// How often a frame is fetched that is not what it should be, besides once from each origin: others may fetch it too.
const MAX_ROUNDS: usize = 8;

/// What a frame holds, which says what will be read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A chunk: those behind it may follow.
    Chunk,
    /// An index page: those before it may follow.
    Page,
    /// Nothing follows.
    Alone,
    /// Anything that nobody reads yet.
    Ahead,
}

/// A pack that is elsewhere.
#[derive(Debug)]
pub(crate) struct RemotePack {
    pub(super) digest: BlobDigest,
    pub(super) bytes: u64,
    pub(super) access: Arc<Access>,
    cache_path: PathBuf,
    origins: Mutex<Vec<String>>,
    /// Whose turn it is to fetch all of it.
    pub(super) turns: Turns,
    state: Mutex<State>,
    /// Bytes came, or a fetch ended.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    cache: Option<Arc<CacheFile>>,
    /// What the cache file holds.
    here: Ranges,
    /// What of it nobody asked for yet.
    unasked: Ranges,
    ahead: ReadAhead,
    flights: Vec<Arc<Flight>>,
    /// How many of them have written to the cache file.
    landed: u64,
    /// The whole pack is being streamed, from an origin that knows no ranges.
    is_spooling: bool,
    /// The cache file is a blob by now, so nobody writes to it.
    is_sealed: bool,
    /// When so much had come of something that takes long that it is worth to wait on.
    arrived: Instant,
    /// Reads that failed one soon after another, unless a fetch succeeded since.
    failed: Option<Failed>,
}

/// What was seen of a frame that is fetched again and again.
#[derive(Debug, Clone, Copy, Default)]
struct Doubt {
    /// So many origins gave a damaged one.
    refused: usize,
    /// How often it was damaged, whoever it came from.
    rounds: usize,
}

/// Reads that failed as no origin could be reached.
#[derive(Debug, Clone, Copy)]
struct Failed {
    /// When the first one did, which had waited for as long as reads wait.
    first: Instant,
    last: Instant,
}

impl RemotePack {
    pub(super) fn new(record: RemoteRecord, access: Arc<Access>) -> Self {
        let state = State {
            cache: None,
            here: Ranges::default(),
            unasked: Ranges::default(),
            ahead: ReadAhead::default(),
            flights: Vec::new(),
            landed: 0,
            is_spooling: false,
            is_sealed: false,
            arrived: Instant::now(),
            failed: None,
        };
        Self {
            cache_path: access.cache_path(&record.pack),
            digest: record.pack,
            bytes: record.bytes,
            access,
            origins: Mutex::new(record.origins),
            turns: Turns::default(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    pub(super) fn cache_path(&self) -> &Path {
        &self.cache_path
    }

    /// Where the pack is to be had, the best first.
    pub(super) fn origins(&self) -> Vec<String> {
        let origins = self.origins.lock();
        origins.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The one that messages name if no other is at fault.
    pub(super) fn first_origin(&self) -> String {
        self.origins().into_iter().next().unwrap_or_default()
    }

    pub(super) fn set_origins(&self, origins: Vec<String>) {
        *self.origins.lock().unwrap_or_else(PoisonError::into_inner) = origins;
    }

    /// What `check` makes of the frame in `range`, from the cache or else from an origin. A frame that it does not take
    /// is fetched again, from each origin once.
    pub(crate) fn frame<T>(
        &self,
        range: Range<u64>,
        kind: Kind,
        check: impl Fn(&[u8]) -> Result<T, FrameError>,
    ) -> Result<T, RemoteError> {
        self.check_range(&range, u64::from(MAX_FRAME_BYTES))?;
        let mut doubt = Doubt::default();
        loop {
            let got = self.obtain(&range, kind, doubt);
            let (frame, from) = got.inspect_err(|_| add(&self.access.counters.failed_reads, 1))?;
            let source = match check(&frame) {
                Ok(checked) => return Ok(checked),
                Err(source) => source,
            };
            tracing::debug!(pack = %self.digest, offset = range.start, ?from, "a frame is fetched again");
            self.forget(&range);
            doubt.rounds += 1;
            doubt.refused += usize::from(from.is_some());
            let origins = self.origins();
            if doubt.refused >= origins.len() || doubt.rounds == MAX_ROUNDS {
                add(&self.access.counters.failed_reads, 1);
                return Err(RemoteError::Damaged {
                    pack: self.digest,
                    offset: range.start,
                    origin: from.or(origins.into_iter().next()).unwrap_or_default(),
                    source: Box::new(source),
                });
            }
        }
    }

    /// What `check` makes of the frame in `range`, if all of it is in the cache; a damaged one is dropped.
    pub(crate) fn cached_frame<T>(
        &self,
        range: Range<u64>,
        check: impl Fn(&[u8]) -> Result<T, FrameError>,
    ) -> Option<T> {
        self.check_range(&range, u64::from(MAX_FRAME_BYTES)).ok()?;
        let mut state = self.lock();
        if state.cache.is_none() && !self.cache_path.exists() {
            return None;
        }
        let cache = self.cache(&mut state);
        let cache = cache.filter(|_| state.here.contains(&range))?;
        drop(state);
        let frame = cache.read_range(&range);
        let checked = frame.ok().and_then(|frame| check(&frame).ok());
        if checked.is_none() {
            self.forget(&range);
        }
        checked
    }

    /// Whether all of `range` is in the cache, as far as is known.
    pub(crate) fn is_here(&self, range: &Range<u64>) -> bool {
        let mut state = self.lock();
        self.cache(&mut state).is_some() && state.here.contains(range)
    }

    /// Fetches what is missing of `range`, which may be read later.
    pub(super) fn fetch(&self, range: &Range<u64>) -> Result<(), RemoteError> {
        self.check_range(range, MAX_READ_BYTES)?;
        self.obtain(range, Kind::Ahead, Doubt::default())?;
        let mut state = self.lock();
        if state.here.contains(range) {
            state.unasked.insert(range.clone());
        }
        Ok(())
    }

    /// Bytes that turned out to be wrong are not here any more.
    pub(super) fn forget(&self, range: &Range<u64>) {
        let mut state = self.lock();
        state.here.remove(range);
        state.unasked.remove(range);
    }

    /// Fetches what is missing of `range`, several frames which are read next, with one request if it is possible.
    pub(crate) fn expect(&self, range: &Range<u64>) -> Result<(), RemoteError> {
        self.check_range(range, MAX_READ_BYTES)?;
        {
            let mut state = self.lock();
            // Without a cache, it would be fetched for nothing.
            if self.cache(&mut state).is_none() || state.here.contains(range) {
                return Ok(());
            }
        }
        self.obtain(range, Kind::Chunk, Doubt::default()).map(drop)
    }

    /// What is asked for must be in the pack, and not more than memory is spent on.
    fn check_range(&self, range: &Range<u64>, limit: u64) -> Result<(), RemoteError> {
        let len = range.end.checked_sub(range.start);
        match range.end <= self.bytes && len.is_some_and(|len| len <= limit) {
            true => Ok(()),
            false => Err(RemoteError::OutOfRange {
                pack: self.digest,
                offset: range.start,
                end: range.end,
                bytes: self.bytes,
            }),
        }
    }

    /// The cache file, which is opened or made if that can be done: reads go on without it.
    fn cache(&self, state: &mut State) -> Option<Arc<CacheFile>> {
        if state.cache.is_none() {
            match self.access.open_cache(&self.cache_path, self.bytes) {
                Ok((cache, here)) => {
                    state.cache = Some(Arc::new(cache));
                    state.here = here;
                }
                Err(error) => {
                    tracing::warn!(path = %self.cache_path.display(), %error, "reads without a cache");
                }
            }
        }
        state.cache.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of ranges that are read as a whole, which are short.
pub(super) fn len(range: &Range<u64>) -> usize {
    usize::try_from(range.end - range.start).unwrap_or(usize::MAX)
}
