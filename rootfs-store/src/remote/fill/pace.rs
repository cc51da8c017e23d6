//! Not more than so many bytes a second.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::registry::SLICE;

/// Lets bytes pass at a rate that several threads share.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: Option<NonZeroU64>,
    /// When the next bytes may pass.
    next: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(per_second: Option<NonZeroU64>) -> Self {
        Self {
            per_second,
            next: Mutex::new(Instant::now()),
        }
    }

    /// The rate; the highest number if there is no limit.
    pub(super) fn bytes_per_second(&self) -> u64 {
        self.per_second.map_or(u64::MAX, NonZeroU64::get)
    }

    /// Waits until what passed before has taken its time, then lets `bytes` pass; ends early if `is_over` says so.
    pub(super) fn pass(&self, bytes: usize, is_over: impl Fn() -> bool) {
        let Some(per_second) = self.per_second else {
            return;
        };
        let nanos = u128::from(bytes as u64) * 1_000_000_000 / u128::from(per_second.get());
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let begins = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let begins = (*next).max(Instant::now());
            *next = begins.checked_add(takes).unwrap_or(begins);
            begins
        };
        while let Some(left) = begins.checked_duration_since(Instant::now())
            && !left.is_zero()
            && !is_over()
        {
            thread::sleep(left.min(SLICE));
        }
    }
}
