//! What time it is, for limits and records.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where a store takes the time from: [`SystemClock`], unless [`Store::with_clock`](crate::Store::with_clock) says
/// otherwise, as tests do that don't want to wait for eight hours. Sessions look at it once a second.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time of day, which may be set forth and back.
    fn wall(&self) -> SystemTime;

    /// The time since some moment, which never goes back.
    fn monotonic(&self) -> Duration;
}

/// The host's clocks.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Seconds since 1970; 0 for times before.
pub(crate) fn unix(clock: &Arc<dyn Clock>) -> u64 {
    unix_of(clock.wall())
}

/// A time in seconds since 1970.
pub(crate) fn unix_of(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
