//! Whether what a disk has in a registry can be had.
//!
//! Invariant: an outage begins with a request that failed because of a registry, and ends when the bytes that the
//! latest such request wanted were had, by one request or by several. Each is told once.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rootfs_store::{DiskError, StoreError};

use crate::error::one_line;
use crate::event::{Event, Events};

/// Watches the requests to a disk.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// Whether there is an outage; cheap enough for every read.
    is_out: AtomicBool,
    outage: Mutex<Option<Outage>>,
}

#[derive(Debug)]
struct Outage {
    begun: Instant,
    failed: u64,
    /// What the last request wanted, and nobody has had since; parts in its middle count at its end.
    wanted: Range<u64>,
}

impl Reach {
    /// Takes note of a request for a range of the disk that failed; says whether that was because of a registry.
    pub(super) fn failed(&self, range: Range<u64>, error: &DiskError, events: &Events) -> bool {
        if !matches!(error, DiskError::Store(StoreError::Remote(error)) if error.is_of_origins()) {
            return false;
        }
        // Held while somebody is told, so that nobody hears of an end before the beginning.
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = outage.is_none();
        let known = outage.get_or_insert_with(|| Outage {
            begun: Instant::now(),
            failed: 0,
            wanted: 0..0,
        });
        known.failed += 1;
        known.wanted = range;
        self.is_out.store(true, Ordering::Release);
        if is_new {
            let message = one_line(error);
            tracing::warn!(message, "a part of a session's disk can't be had");
            events.tell(Event::DiskUnreachable { message });
        }
        true
    }

    /// Takes note of a range of the disk that was read or changed.
    pub(super) fn succeeded(&self, range: &Range<u64>, events: &Events) {
        if !self.is_out.load(Ordering::Acquire) {
            return;
        }
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |outage: &mut Outage| {
            outage.wanted = without(&outage.wanted, range);
            outage.wanted.is_empty()
        };
        if let Some(ended) = outage.take_if(is_over) {
            self.is_out.store(false, Ordering::Release);
            let (failed, outage) = (ended.failed, ended.begun.elapsed());
            tracing::info!(failed, ?outage, "a session's disk can be read again");
            events.tell(Event::DiskReachableAgain { failed, outage });
        }
    }
}

/// What is left of a range once `had` was had, if that touches its start or its end.
fn without(range: &Range<u64>, had: &Range<u64>) -> Range<u64> {
    match (had.start <= range.start, range.end <= had.end) {
        (true, _) if had.end > range.start => had.end.min(range.end)..range.end,
        (_, true) if had.start < range.end => range.start..had.start.max(range.start),
        _ => range.clone(),
    }
}

#[cfg(test)]
mod tests;
