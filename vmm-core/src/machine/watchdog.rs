//! A watchdog that the guest finds in the ACPI table WDAT: it resets the machine unless it is kicked in time.
//!
//! Four registers: the count (16 bits: what to count from when written, what is left when read), control
//! (running or not), kick, and what it counts from (16 bits, to be read). Invariant: there is a deadline if and only if it runs.

mod state;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use state::WatchdogState;

use crate::layout::{
    WATCHDOG_CONTROL_PORT, WATCHDOG_COUNT_PORT, WATCHDOG_KICK_PORT, WATCHDOG_SETTING_PORT,
};

/// What one count stands for.
pub(crate) const WATCHDOG_PERIOD_MS: u32 = 100;
/// The bit of the control register that starts it.
pub(crate) const WATCHDOG_RUNNING: u8 = 1;
/// What it counts from if the guest sets nothing: a minute.
const DEFAULT_COUNT: u16 = 600;

/// The watchdog of one VM.
pub(crate) struct Watchdog {
    state: Mutex<State>,
    /// Tells who waits for the deadline that it may be earlier now.
    armed: Box<dyn Fn() + Send + Sync>,
}

#[derive(Debug)]
struct State {
    count: u16,
    deadline: Option<Instant>,
    /// Since when time stands still.
    paused: Option<Instant>,
}

impl Watchdog {
    pub(crate) fn new(armed: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            state: Mutex::new(State {
                count: DEFAULT_COUNT,
                deadline: None,
                paused: None,
            }),
            armed,
        }
    }

    /// When it resets the machine, unless the guest or a pause gets in between.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let state = self.lock();
        state.deadline.filter(|_| state.paused.is_none())
    }

    pub(crate) fn has_expired(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| now >= deadline)
    }

    /// Stops time for the watchdog.
    pub(crate) fn pause(&self, now: Instant) {
        self.lock().paused.get_or_insert(now);
    }

    /// Lets it go on, with as much time left as there was.
    pub(crate) fn resume(&self, now: Instant) {
        let mut state = self.lock();
        if let Some(since) = state.paused.take() {
            let lost = now.saturating_duration_since(since);
            state.deadline = state.deadline.map(|deadline| deadline + lost);
        }
        drop(state);
        (self.armed)();
    }

    /// Handles a read at `port`; what is no register leaves `data` as it is.
    pub(super) fn read(&self, port: u16, data: &mut [u8], now: Instant) {
        let state = self.lock();
        let now = state.time(now);
        match (port, data) {
            (WATCHDOG_COUNT_PORT, [low, high]) => {
                [*low, *high] = state.count_left(now).to_le_bytes();
            }
            (WATCHDOG_SETTING_PORT, [low, high]) => [*low, *high] = state.count.to_le_bytes(),
            (WATCHDOG_CONTROL_PORT, [data]) => *data = u8::from(state.deadline.is_some()),
            _ => {}
        }
    }

    /// Handles a write at `port`.
    pub(super) fn write(&self, port: u16, data: &[u8], now: Instant) {
        let mut state = self.lock();
        let now = state.time(now);
        let before = state.deadline;
        match (port, data) {
            (WATCHDOG_COUNT_PORT, [low, high]) => {
                state.count = u16::from_le_bytes([*low, *high]).max(1);
                state.restart_if_running(now);
            }
            (WATCHDOG_CONTROL_PORT, [value]) => {
                if value & WATCHDOG_RUNNING == 0 {
                    state.deadline = None;
                } else if state.deadline.is_none() {
                    state.restart(now);
                }
            }
            (WATCHDOG_KICK_PORT, [_]) => state.restart_if_running(now),
            _ => {}
        }
        let is_earlier = match (before, state.deadline) {
            (None, Some(_)) => true,
            (Some(before), Some(after)) => after < before,
            (_, None) => false,
        };
        drop(state);
        // Who waits for a deadline that moved back finds out when it wakes.
        if is_earlier {
            (self.armed)();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What time it is for the watchdog when it is `now` for others: vCPUs run for a moment longer than time does.
    fn time(&self, now: Instant) -> Instant {
        self.paused.unwrap_or(now)
    }

    fn restart(&mut self, now: Instant) {
        self.deadline = Some(now + Duration::from_millis(whole_ms(self.count)));
    }

    fn restart_if_running(&mut self, now: Instant) {
        if self.deadline.is_some() {
            self.restart(now);
        }
    }

    fn count_left(&self, now: Instant) -> u16 {
        self.deadline.map_or(self.count, |deadline| {
            let left = deadline.saturating_duration_since(now).as_millis();
            u16::try_from(left / u128::from(WATCHDOG_PERIOD_MS)).unwrap_or(u16::MAX)
        })
    }
}

/// All the time that a kick gives.
fn whole_ms(count: u16) -> u64 {
    u64::from(WATCHDOG_PERIOD_MS) * u64::from(count)
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
