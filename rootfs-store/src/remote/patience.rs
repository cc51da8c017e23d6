//! Trying again, after pauses that grow, for as long as a caller waits.

use std::time::{Duration, Instant};

use crate::registry::sleep;

/// The first pause.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause; an origin may ask for one as long as this, too.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// How long is waited without anything that comes.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    since: Instant,
    pause: Duration,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            since: Instant::now(),
            pause: FIRST_PAUSE,
        }
    }

    /// Something came.
    pub(super) fn renew(&mut self) {
        self.since = Instant::now();
        self.pause = FIRST_PAUSE;
    }

    pub(super) fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    /// The next pause, which is at least what the origin `asked` for; nothing if that is all that was waited for.
    pub(super) fn next_pause(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let left = self.limit.checked_sub(self.waited())?;
        let pause = self.pause.max(asked.unwrap_or_default()).min(MAX_PAUSE);
        self.pause = (2 * self.pause).min(MAX_PAUSE);
        Some(pause.min(left)).filter(|pause| !pause.is_zero())
    }

    /// Pauses, if that is worth it and for as long as it is wanted; whether it did.
    pub(super) fn pause(&mut self, asked: Option<Duration>) -> bool {
        let pause = self.next_pause(asked);
        pause.inspect(|pause| sleep(*pause)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_nothing_is_left() {
        let mut patience = Patience::new(Duration::from_secs(60));
        let pauses: Vec<_> = (0..9).filter_map(|_| patience.next_pause(None)).collect();
        assert_eq!(pauses[0], FIRST_PAUSE);
        assert_eq!(pauses[1], 2 * FIRST_PAUSE);
        assert_eq!(pauses[8], MAX_PAUSE);
        let asked = patience.next_pause(Some(Duration::from_secs(3600)));
        assert_eq!(asked, Some(MAX_PAUSE));
        assert_eq!(Patience::new(Duration::ZERO).next_pause(None), None);
    }
}
