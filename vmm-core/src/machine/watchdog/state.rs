//! The watchdog as plain data.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Watchdog, whole_ms};
use crate::state::{FieldError, check};

/// The state of the watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WatchdogState {
    /// What it counts from, in tenths of a second.
    pub count: u16,
    /// The time that is left if it runs, in milliseconds.
    pub left_ms: Option<u64>,
}

impl WatchdogState {
    pub(crate) fn check(&self) -> Result<(), FieldError> {
        check("count", self.count, self.count > 0, "1 or more")?;
        let left = self.left_ms.unwrap_or(0);
        let most = whole_ms(self.count);
        check(
            "left_ms",
            left,
            left <= most,
            "what is counted from, or less",
        )
    }
}

impl Watchdog {
    /// The state at `now`, or since when time stands still.
    pub(crate) fn save(&self, now: Instant) -> WatchdogState {
        let state = self.lock();
        let (now, whole) = (state.time(now), whole_ms(state.count));
        let left = |deadline: Instant| {
            let left = deadline.saturating_duration_since(now).as_millis();
            // A kick may have come a moment after the time at which the pause began.
            u64::try_from(left).map_or(whole, |left| left.min(whole))
        };
        WatchdogState {
            count: state.count,
            left_ms: state.deadline.map(left),
        }
    }

    /// Becomes the watchdog of a state that was checked, which goes on at `now`.
    pub(crate) fn take_over(&self, saved: &WatchdogState, now: Instant) {
        let mut state = self.lock();
        state.count = saved.count;
        state.deadline = saved.left_ms.map(|ms| now + Duration::from_millis(ms));
        drop(state);
        (self.armed)();
    }
}
