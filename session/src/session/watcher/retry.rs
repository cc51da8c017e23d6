//! Ends that failed, and when they are tried again.

use std::time::{Duration, Instant};

use crate::limits::AtEnd;

/// How long an end that failed waits until it is tried again, and no longer than how long if it fails time and again.
const PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// The end of a session that failed last.
#[derive(Debug, Default)]
pub(super) struct Retry {
    /// How it was to be ended.
    pub(super) owed: Option<AtEnd>,
    /// Nothing is tried again before.
    pub(super) quiet_until: Option<Instant>,
    pause: Duration,
}

impl Retry {
    /// Takes note of how an end went.
    pub(super) fn note(&mut self, ended: Result<(), AtEnd>, now: Instant) {
        self.owed = ended.err();
        self.pause = match self.owed {
            Some(_) => (self.pause * 2).clamp(PAUSE, LONGEST_PAUSE),
            None => Duration::ZERO,
        };
        self.quiet_until = self.owed.map(|_| now + self.pause);
    }

    /// Whether it is to be left alone at this moment.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        self.quiet_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_ends_fail_and_begin_anew_after_one_that_did_not() {
        let now = Instant::now();
        let mut retry = Retry::default();
        assert!(!retry.is_quiet(now));
        for seconds in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
            retry.note(Err(AtEnd::Shutdown), now);
            assert!(retry.is_quiet(now + Duration::from_secs(seconds - 1)));
            assert!(!retry.is_quiet(now + Duration::from_secs(seconds)));
        }
        retry.note(Ok(()), now);
        assert!(!retry.is_quiet(now) && retry.owed.is_none());
        retry.note(Err(AtEnd::Terminate), now);
        assert!(!retry.is_quiet(now + PAUSE));
    }
}
