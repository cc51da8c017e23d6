//! How fast bytes have to come and go.
//!
//! Invariant: only time that is spent waiting for the other side counts, however long the receiver takes for its own
//! work.

use std::time::Duration;

use super::options::RegistryOptions;

/// A rate, as an average over a window of waiting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeastRate {
    bytes_per_second: u64,
    window: Duration,
}

/// Measures one direction of a connection.
#[derive(Debug)]
pub(crate) struct Meter {
    least: LeastRate,
    /// Bytes of this window.
    bytes: u64,
    /// Time of this window.
    time: Duration,
}

/// What passed in a window, which is too little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("only {bytes} bytes passed in {time:?}")]
pub(crate) struct Slow {
    pub(crate) bytes: u64,
    pub(crate) time: Duration,
}

impl LeastRate {
    pub(crate) fn of(options: &RegistryOptions) -> Self {
        Self {
            bytes_per_second: options.least_rate,
            window: options.idle_timeout,
        }
    }

    /// The fewest bytes that may come in a window.
    pub(crate) fn window_bytes(&self) -> u64 {
        self.bytes_in(self.window)
    }

    fn bytes_in(&self, time: Duration) -> u64 {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.bytes_per_second.saturating_mul(millis) / 1000
    }
}

impl Meter {
    pub(crate) fn new(least: LeastRate) -> Self {
        Self {
            least,
            bytes: 0,
            time: Duration::ZERO,
        }
    }

    /// Begins a new window.
    pub(crate) fn reset(&mut self) {
        (self.bytes, self.time) = (0, Duration::ZERO);
    }

    /// Takes in that it took `time` until `bytes` had passed.
    ///
    /// # Errors
    /// [`Slow`] at the end of a window in which too few did.
    pub(crate) fn add(&mut self, bytes: u64, time: Duration) -> Result<(), Slow> {
        self.bytes += bytes;
        self.time += time;
        if self.time < self.least.window {
            return Ok(());
        }
        let window = Slow {
            bytes: self.bytes,
            time: self.time,
        };
        self.reset();
        match window.bytes < self.least.bytes_in(window.time) {
            true => Err(window),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
