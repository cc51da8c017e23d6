//! Limits on what a device may move: bytes and operations a second, with bursts.
//!
//! Invariant: in any stretch of time, no more passes than a burst and what the rate allows for that time, but
//! for the end of the last request, which passes as a whole.

mod bucket;
mod gate;
mod state;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::EventFd;

use bucket::Buckets;
pub(crate) use gate::RateGate;
pub use state::{BucketState, LimiterState};

/// How much may pass: a token bucket that fills at a steady rate up to its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Bytes, or operations, a second on average; not 0.
    pub per_second: u64,
    /// Bytes, or operations, that may pass at once after a pause; not 0. A device that has to wait wakes up
    /// some tens of microseconds late, so a burst of less than a few milliseconds' worth makes it slower than
    /// `per_second`. A request that is larger than this passes, too; what follows then waits for longer.
    pub burst: u64,
}

/// The limits of a device, or of several together. None at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// The limit on bytes of data, in both directions together.
    pub bytes: Option<RateLimit>,
    /// The limit on requests or packets.
    pub operations: Option<RateLimit>,
}

/// Why limits are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RateLimitError {
    /// Nothing would ever pass.
    #[error("{field} of a limit on {limit} is 0: set it to 1 or more, or have no limit on {limit}")]
    Zero {
        /// `bytes` or `operations`.
        limit: &'static str,
        /// `per_second` or `burst`.
        field: &'static str,
    },
}

/// Limits that can be changed while devices run under them. Clones are the same limiter: devices that have
/// clones of one share what it lets pass, in no order, and a large request of one is a wait for all. So guests
/// that don't trust each other should have limiters of their own.
///
/// ```
/// use vmm_core::{RateLimit, RateLimiter, RateLimits};
///
/// let limiter = RateLimiter::default();
/// limiter.set(RateLimits {
///     bytes: Some(RateLimit { per_second: 50 << 20, burst: 4 << 20 }),
///     operations: None,
/// })?;
/// # Ok::<(), vmm_core::RateLimitError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct RateLimiter {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether there are limits at all; changes under the lock.
    limited: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    limits: RateLimits,
    buckets: Buckets,
    /// Who wants to know that the limits changed.
    watchers: Vec<Weak<EventFd>>,
}

impl RateLimits {
    fn check(&self) -> Result<(), RateLimitError> {
        for (limit, value) in [("bytes", self.bytes), ("operations", self.operations)] {
            let Some(value) = value else { continue };
            for (field, number) in [("per_second", value.per_second), ("burst", value.burst)] {
                if number == 0 {
                    return Err(RateLimitError::Zero { limit, field });
                }
            }
        }
        Ok(())
    }
}

impl RateLimiter {
    /// A limiter that begins with full bursts. [`RateLimiter::default`] has no limits.
    ///
    /// # Errors
    /// [`RateLimitError`] if a limit would let nothing pass.
    pub fn new(limits: RateLimits) -> Result<Self, RateLimitError> {
        let limiter = Self::default();
        limiter.set(limits)?;
        Ok(limiter)
    }

    /// Changes the limits, for requests that wait already, too. What was used of a burst stays used; a limit
    /// where there was none begins with a full burst.
    ///
    /// # Errors
    /// As for [`new`](Self::new); the old limits then stay.
    pub fn set(&self, limits: RateLimits) -> Result<(), RateLimitError> {
        limits.check()?;
        let mut state = self.state();
        state.buckets.change(&limits, Instant::now());
        state.limits = limits;
        self.shared
            .limited
            .store(limits != RateLimits::default(), Ordering::Release);
        state.watchers.retain(|watcher| {
            let Some(watcher) = watcher.upgrade() else {
                return false;
            };
            // A full counter wakes, too.
            let _woken_already = watcher.write(1);
            true
        });
        Ok(())
    }

    /// The limits as they were set last.
    #[must_use]
    pub fn limits(&self) -> RateLimits {
        self.state().limits
    }

    /// Lets one request of so many operations and bytes pass, or says for how long it has to wait. Zero of
    /// either asks nothing of that limit.
    pub(crate) fn take(&self, now: Instant, operations: u64, bytes: u64) -> Result<(), Duration> {
        if !self.is_limited() {
            return Ok(());
        }
        self.state().buckets.take(now, operations, bytes)
    }

    fn is_limited(&self) -> bool {
        self.shared.limited.load(Ordering::Acquire)
    }

    /// Writes to `watcher` whenever the limits change, for as long as it lives.
    fn watch(&self, watcher: &Arc<EventFd>) {
        let mut state = self.state();
        state.watchers.retain(|watcher| watcher.strong_count() > 0);
        state.watchers.push(Arc::downgrade(watcher));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
