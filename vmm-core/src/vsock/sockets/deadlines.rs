//! Who must be through with something by when, and the timer that wakes the device for the first of them.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use vmm_sys_util::timerfd::TimerFd;

use super::Token;

pub(super) struct Deadlines {
    list: BTreeSet<(Instant, Token)>,
    timer: TimerFd,
    /// What the timer is set for.
    alarm: Option<Instant>,
}

impl Deadlines {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            list: BTreeSet::new(),
            timer: TimerFd::new().map_err(io::Error::from)?,
            alarm: None,
        })
    }

    pub(super) fn add(&mut self, at: Instant, token: Token) {
        self.list.insert((at, token));
    }

    pub(super) fn remove(&mut self, at: Instant, token: Token) {
        self.list.remove(&(at, token));
    }

    pub(super) fn contains(&self, token: Token) -> bool {
        self.list.iter().any(|(_, of)| *of == token)
    }

    /// Takes one that is past at `now`.
    pub(super) fn take_past(&mut self, now: Instant) -> Option<Token> {
        let past = self.list.first().is_some_and(|(at, _)| *at <= now);
        let (_, token) = past.then(|| self.list.pop_first())??;
        Some(token)
    }

    /// Sets the timer for the first.
    pub(super) fn set_alarm(&mut self) {
        let first = self.list.first().map(|(at, _)| *at);
        if first.is_none() || first == self.alarm {
            return;
        }
        self.alarm = first;
        if let Some(at) = first {
            // A timer that is set for nothing would never ring.
            let wait = at.saturating_duration_since(Instant::now());
            let wait = wait.max(Duration::from_millis(1));
            if let Err(error) = self.timer.reset(wait, None) {
                tracing::warn!(%error, "slow vsock clients are not cut off");
            }
        }
    }

    /// Puts all of them off.
    pub(super) fn postpone(&mut self, by: Duration) {
        let list = std::mem::take(&mut self.list).into_iter();
        self.list = list.map(|(at, token)| (at + by, token)).collect();
    }

    /// The timer has rung: it is readable no more. Returns how late it is at `now`.
    pub(super) fn hear_alarm(&mut self, now: Instant) -> Duration {
        let late = self
            .alarm
            .take()
            .map(|at| now.saturating_duration_since(at));
        // Disarming takes the expiration back that nobody has read; it fails for no timer that is open.
        let _disarmed = self.timer.clear();
        late.unwrap_or_default()
    }
}

impl AsRawFd for Deadlines {
    fn as_raw_fd(&self) -> RawFd {
        self.timer.as_raw_fd()
    }
}
