//! When to try again, without a clock.
//!
//! Invariant: a sequence of delays ends, and each delay is bounded whatever a registry asks for.

use std::time::Duration;

/// Longest wait that a registry may ask for; one that asks for more is asked again after this time.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Doublings after which a delay grows no more, so that shifts stay in range.
const MAX_DOUBLINGS: u32 = 16;

/// How often and when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Most attempts, the first included. Each byte that arrives in a blob starts a new count.
    pub attempts: u32,
    /// The wait after the first failure; it doubles with each further one.
    pub first_delay: Duration,
    /// The longest wait, unless the registry itself asks for more.
    pub max_delay: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 6,
            first_delay: Duration::from_millis(250),
            max_delay: Duration::from_secs(10),
        }
    }
}

impl RetryPolicy {
    /// How long to wait after `failures` failures in a row, or nothing if it's enough.
    ///
    /// `jitter` is any number; it spreads the delay over the upper half, so that many clients don't come back at once.
    pub(crate) fn delay(
        &self,
        failures: u32,
        retry_after: Option<Duration>,
        jitter: u64,
    ) -> Option<Duration> {
        if failures >= self.attempts {
            return None;
        }
        let doublings = failures.saturating_sub(1).min(MAX_DOUBLINGS);
        let full = self
            .first_delay
            .saturating_mul(1 << doublings)
            .min(self.max_delay);
        let half = full / 2;
        let spread = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        let jittered = half + Duration::from_nanos(jitter % spread.saturating_add(1).max(1));
        let asked = retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
        Some(jittered.max(asked))
    }
}

#[cfg(test)]
mod tests;
