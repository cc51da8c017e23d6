//! How much room a session's writes have left, by its quota and on the host's disk.
//!
//! ```text
//! free      8 x reserve          reserve                      reserve / 2
//! ------------ | -------------------- | ----------------------------- | --------------------->
//!  look rarely |      look often      | slow down; end who goes on    | end whatever runs
//!              |                      | writing                       |
//! ```

use std::time::Duration;

use vmm_core::{RateLimit, RateLimits};

use crate::error::{Error, one_line};
use crate::event::Event;
use crate::quotas::Quotas;

/// How often it is looked while there is much room, and while there is not.
const PAUSE: Duration = Duration::from_secs(1);
const SHORT_PAUSE: Duration = Duration::from_millis(125);
/// With how many times the reserve there is much room.
const MUCH: u64 = 8;
/// Which part of the reserve a session may write a second when there is less room than that, and how much in all.
const SLOW: u64 = 64;
/// Slower than this no guest would be shut down in time.
const SLOWEST: u64 = 1 << 20;

/// What is known of the room from the looks so far.
#[derive(Debug, Default)]
pub(super) struct Room {
    has_little: bool,
    is_slow: bool,
    is_unknown: bool,
    /// What the session had written when there was more room than the reserve.
    written_before: Option<u64>,
}

/// What follows from a look.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Look {
    /// Limits on the session's disks that are to be set.
    pub(super) limits: Option<RateLimits>,
    /// Why the session is to be shut down.
    pub(super) end: Option<Event>,
}

impl Room {
    /// After which time to look again.
    pub(super) fn pause(&self) -> Duration {
        match self.has_little {
            true => SHORT_PAUSE,
            false => PAUSE,
        }
    }

    /// Judges by the bytes that are free on the host's disk, and that the session's writes take.
    pub(super) fn look(&mut self, free: Result<u64, Error>, written: u64, quotas: &Quotas) -> Look {
        let free = self.known(free);
        let reserve = quotas.host_reserve;
        self.has_little = free.is_none_or(|free| free < reserve.saturating_mul(MUCH));
        let low = free.filter(|free| *free < reserve);
        if low.is_none() || self.written_before.is_none() {
            self.written_before = Some(written);
        }
        let grown = written.saturating_sub(self.written_before.unwrap_or_default());
        let too_low = low.filter(|free| *free < reserve / 2 || grown >= reserve / SLOW);
        let over = quotas.bytes_per_run.filter(|limit| written > *limit);
        let end = match (over, too_low) {
            (Some(limit), _) => Some(Event::QuotaReached { written, limit }),
            (None, Some(free)) => Some(Event::HostFull { free }),
            (None, None) => None,
        };
        let limits = (low.is_some() != self.is_slow).then(|| limits(low.is_some(), reserve));
        self.is_slow = low.is_some();
        Look { limits, end }
    }

    /// Nobody is ended because the host can't tell; that is said once.
    fn known(&mut self, free: Result<u64, Error>) -> Option<u64> {
        let was_unknown = std::mem::replace(&mut self.is_unknown, free.is_err());
        if let Err(error) = &free
            && !was_unknown
        {
            let error = one_line(error);
            tracing::warn!(
                error,
                "nobody sees to it that the host's disk does not fill"
            );
        }
        free.ok()
    }
}

fn limits(is_slow: bool, reserve: u64) -> RateLimits {
    let per_second = (reserve / SLOW).max(SLOWEST);
    let burst = per_second;
    RateLimits {
        bytes: is_slow.then_some(RateLimit { per_second, burst }),
        operations: None,
    }
}

#[cfg(test)]
mod tests;
