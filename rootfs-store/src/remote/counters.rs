//! What was fetched, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a store fetched of packs that are elsewhere since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteStats {
    /// Requests to origins, those that failed too.
    pub requests: u64,
    /// Bytes that came from origins.
    pub fetched_bytes: u64,
    /// Bytes of frames that were read from the cache.
    pub cached_bytes: u64,
    /// Pauses before something was tried again.
    pub retries: u64,
    /// Frames that were there when they were needed, as they had been read ahead.
    pub ahead_frames: u64,
    /// Reads that failed in the end.
    pub failed_reads: u64,
}

/// The numbers while they grow.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) fetched_bytes: AtomicU64,
    pub(super) cached_bytes: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) ahead_frames: AtomicU64,
    pub(super) failed_reads: AtomicU64,
}

impl Counters {
    pub(super) fn stats(&self) -> RemoteStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RemoteStats {
            requests: get(&self.requests),
            fetched_bytes: get(&self.fetched_bytes),
            cached_bytes: get(&self.cached_bytes),
            retries: get(&self.retries),
            ahead_frames: get(&self.ahead_frames),
            failed_reads: get(&self.failed_reads),
        }
    }
}

/// Adds to a counter that nothing else hangs on.
pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
