//! Whether a session does anything.
//!
//! Pure arithmetic over what was counted; whoever counts passes it in, with the time.

use std::time::Duration;

use super::IdleLimit;

/// Rates are averages over at least this long: a guest that does nothing has its moments, too.
const WINDOW: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);

/// What was counted of a session up to a moment. Counts only grow, but for `commands`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Commands that run.
    pub(crate) commands: usize,
    /// Bytes that went through connections to the guest, and calls to touch the session.
    pub(crate) uses: u64,
    /// Bytes that the guest sent to its networks.
    pub(crate) network_bytes: u64,
    /// What its processors have taken.
    pub(crate) cpu: Duration,
}

/// Since when a session does nothing.
#[derive(Debug)]
pub(crate) struct IdleWatch {
    idle_since: Duration,
    /// What was counted when the present window began, and when that was.
    window: (Duration, Sample),
    last: Sample,
}

impl IdleWatch {
    /// A session that begins at `now`, which is no idle moment.
    pub(crate) fn new(now: Duration, sample: Sample) -> Self {
        Self {
            idle_since: now,
            window: (now, sample),
            last: sample,
        }
    }

    /// Takes in what was counted up to `now`, and says for how long the session has been idle.
    pub(crate) fn observe(&mut self, now: Duration, sample: Sample, limit: &IdleLimit) -> Duration {
        if sample.commands > 0 || sample.uses != self.last.uses {
            self.idle_since = now;
        }
        let (begun, first) = self.window;
        let length = now.saturating_sub(begun);
        // What is counted anew, after a reboot, begins at nothing.
        let restarted = sample.cpu < first.cpu || sample.network_bytes < first.network_bytes;
        if length >= WINDOW || restarted {
            if restarted || is_busy(length, &first, &sample, limit) {
                self.idle_since = now;
            }
            self.window = (now, sample);
        }
        self.last = sample;
        now.saturating_sub(self.idle_since)
    }
}

fn is_busy(length: Duration, first: &Sample, last: &Sample, limit: &IdleLimit) -> bool {
    let cpu = last.cpu.saturating_sub(first.cpu);
    let sent = last.network_bytes.saturating_sub(first.network_bytes);
    let allowed =
        limit.network_bytes_per_minute as f64 * (length.as_secs_f64() / MINUTE.as_secs_f64());
    cpu.as_secs_f64() * 100.0 > length.as_secs_f64() * f64::from(limit.cpu_percent)
        || sent as f64 > allowed
}

#[cfg(test)]
mod tests;
