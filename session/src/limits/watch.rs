//! When a session's time is over, and when that is near.
//!
//! Pure logic: whoever has the clocks passes the time in.

use std::time::Duration;

use super::idle::{IdleWatch, Sample};
use super::{Limit, Limits};

/// What is to be done about a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Say that it is near.
    Near { limit: Limit, left: Duration },
    /// End the session.
    Over { limit: Limit },
}

/// The limits of a run, as they come near. Times are of a clock that never goes back.
#[derive(Debug)]
pub(crate) struct LimitWatch {
    begun: Duration,
    /// How long the run had lasted by then; the clock may have its beginning after the run's.
    used: Duration,
    idle: IdleWatch,
    idle_for: Duration,
    /// The shortest warning that was given, of each limit.
    warned_of_uptime: Option<Duration>,
    warned_of_idle: Option<Duration>,
}

impl LimitWatch {
    /// A run that has lasted for `used` at `now`.
    pub(crate) fn new(now: Duration, used: Duration, sample: Sample) -> Self {
        Self {
            begun: now,
            used,
            idle: IdleWatch::new(now, sample),
            idle_for: Duration::ZERO,
            warned_of_uptime: None,
            warned_of_idle: None,
        }
    }

    /// How long the run has lasted.
    pub(crate) fn age(&self, now: Duration) -> Duration {
        self.used.saturating_add(now.saturating_sub(self.begun))
    }

    /// What is left until a run is over, and until it is idle, if there are such limits.
    pub(crate) fn left(&self, now: Duration, limits: &Limits) -> [Option<Duration>; 2] {
        let age = self.age(now);
        let uptime = limits.max_uptime.map(|limit| limit.saturating_sub(age));
        let idle = limits.idle.as_ref();
        let idle = idle.map(|limit| limit.after.saturating_sub(self.idle_for));
        [uptime, idle]
    }

    /// Takes in what was counted up to `now`, and says whether a limit is over.
    pub(crate) fn is_over(
        &mut self,
        limit: Limit,
        now: Duration,
        sample: Sample,
        limits: &Limits,
    ) -> bool {
        self.observe(now, sample, limits);
        let [uptime, idle] = self.left(now, limits);
        let left = match limit {
            Limit::Uptime => uptime,
            Limit::Idle => idle,
        };
        left.is_some_and(|left| left.is_zero())
    }

    fn observe(&mut self, now: Duration, sample: Sample, limits: &Limits) {
        self.idle_for = match &limits.idle {
            Some(limit) => self.idle.observe(now, sample, limit),
            None => {
                // A limit that comes later counts from then on.
                self.idle = IdleWatch::new(now, sample);
                Duration::ZERO
            }
        };
    }

    /// Takes in what was counted up to `now`, and says what is to be done, if anything.
    pub(crate) fn check(&mut self, now: Duration, sample: Sample, limits: &Limits) -> Vec<Verdict> {
        self.observe(now, sample, limits);
        let [uptime, idle] = self.left(now, limits);
        let whole = [
            limits.max_uptime,
            limits.idle.as_ref().map(|idle| idle.after),
        ];
        let warned = [&mut self.warned_of_uptime, &mut self.warned_of_idle];
        let kinds = [Limit::Uptime, Limit::Idle].into_iter();
        let mut verdicts = Vec::new();
        for (((limit, left), whole), warned) in kinds.zip([uptime, idle]).zip(whole).zip(warned) {
            let (Some(left), Some(whole)) = (left, whole) else {
                *warned = None;
                continue;
            };
            if left.is_zero() {
                return vec![Verdict::Over { limit }];
            }
            if is_warning_due(left, whole, &limits.warnings, warned) {
                verdicts.push(Verdict::Near { limit, left });
            }
        }
        verdicts
    }
}

/// Whether a warning is due that was not given, and notes that it was. One that is as long as the whole time is none.
fn is_warning_due(
    left: Duration,
    whole: Duration,
    warnings: &[Duration],
    warned: &mut Option<Duration>,
) -> bool {
    if warned.is_some_and(|warned| left > warned) {
        // The end has moved away.
        *warned = None;
    }
    let due = warnings
        .iter()
        .filter(|warning| left <= **warning && **warning < whole);
    let Some(shortest) = due.min().copied() else {
        return false;
    };
    if warned.is_some_and(|warned| warned <= shortest) {
        return false;
    }
    *warned = Some(shortest);
    true
}

#[cfg(test)]
mod tests;
