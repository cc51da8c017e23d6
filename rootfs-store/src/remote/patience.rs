//! Trying again, after pauses that grow, for as long as a caller waits.
//!
//! Invariant: patience is renewed by nothing but [`LEAST_BYTES_PER_SECOND`], on average over as long as is waited. So
//! an origin that drips, in one answer or in many that are cut off, is given up like one that is silent.

use std::time::{Duration, Instant};

use crate::registry::sleep;

/// The first pause.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause; an origin may ask for one as long as this, too.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// What an origin must bring to count as one that brings something.
const LEAST_BYTES_PER_SECOND: u64 = 1 << 10;
/// Bytes are averaged over this long at least, however short a time is waited.
const LEAST_WINDOW: Duration = Duration::from_millis(100);

/// How long is waited without anything that comes.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    /// What the rate of bytes is averaged over.
    window: Duration,
    since: Instant,
    pause: Duration,
    /// Bytes that came since it was renewed.
    came: u64,
    /// When the answer that is under way began to come.
    answered: Option<Instant>,
}

/// An origin brings too little to wait for the rest.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("it sends less than {LEAST_BYTES_PER_SECOND} bytes a second")]
pub(super) struct TooSlow;

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            window: limit.max(LEAST_WINDOW),
            since: Instant::now(),
            pause: FIRST_PAUSE,
            came: 0,
            answered: None,
        }
    }

    /// The same, of which some has passed since `begun`.
    pub(super) fn since(self, begun: Instant) -> Self {
        Self {
            since: begun,
            ..self
        }
    }

    /// The same without trying again. An answer may take as long as otherwise.
    pub(super) fn once(self) -> Self {
        Self {
            limit: Duration::ZERO,
            ..self
        }
    }

    /// Something came.
    pub(super) fn renew(&mut self) {
        self.since = Instant::now();
        self.pause = FIRST_PAUSE;
        self.came = 0;
    }

    /// A request is sent. How long it takes until its answer begins is for its connection to bound.
    pub(super) fn ask(&mut self) {
        self.answered = None;
    }

    /// Bytes came; whether they are enough to renew it.
    pub(super) fn take(&mut self, bytes: usize) -> Result<bool, TooSlow> {
        let answered = *self.answered.get_or_insert_with(Instant::now);
        self.came += bytes as u64;
        if self.came >= least_bytes(self.window) {
            self.renew();
            return Ok(true);
        }
        match self.since.max(answered).elapsed() > self.window {
            true => Err(TooSlow),
            false => Ok(false),
        }
    }

    /// An answer has ended that brought so many bytes in all, which renews it if they are enough for the time they took.
    pub(super) fn took(&mut self, bytes: u64) {
        self.came += bytes;
        if self.came >= least_bytes(self.window.max(self.since.elapsed())) {
            self.renew();
        }
    }

    /// The next pause, which is at least what the origin `asked` for; nothing if that is all that was waited for.
    pub(super) fn next_pause(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let left = self.limit.checked_sub(self.since.elapsed())?;
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

/// Bytes that must come in a time.
fn least_bytes(time: Duration) -> u64 {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    LEAST_BYTES_PER_SECOND.saturating_mul(millis) / 1000
}

#[cfg(test)]
mod tests;
