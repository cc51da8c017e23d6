//! Who fetches the whole of a pack, while others wait for it.
//!
//! Invariant: one fill at a time has the turn. It goes at the fastest pace of all who want the pack, so that nobody
//! waits for a limit that somebody else has set.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::pace::Pace;
use crate::registry::SLICE;

/// The turn of one pack.
#[derive(Debug, Default)]
pub(in super::super) struct Turns {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_taken: bool,
    /// The paces of those who wait.
    waiting: Vec<Arc<Pace>>,
}

/// The right to fetch the pack, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a Turns);

/// A place among those who wait.
struct Place<'a> {
    turns: &'a Turns,
    pace: &'a Arc<Pace>,
}

impl Turns {
    /// Waits for the turn, and hurries who has it to `pace`; nothing once `goes_on` says no, which is asked now and
    /// then.
    pub(super) fn take(
        &self,
        pace: &Arc<Pace>,
        mut goes_on: impl FnMut() -> bool,
    ) -> Option<Turn<'_>> {
        if let Some(turn) = self.take_free(self.lock()) {
            return Some(turn);
        }
        let _place = Place::among(self, pace);
        loop {
            let waited = self
                .ended
                .wait_timeout_while(self.lock(), SLICE, |state| state.is_taken);
            let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if let Some(turn) = self.take_free(state) {
                return Some(turn);
            }
            if !goes_on() {
                return None;
            }
        }
    }

    fn take_free(&self, mut state: MutexGuard<'_, State>) -> Option<Turn<'_>> {
        let was_taken = std::mem::replace(&mut state.is_taken, true);
        drop(state);
        // Not made otherwise, as it would be given back.
        (!was_taken).then(|| Turn(self))
    }

    /// The fastest pace of those who wait and of who has the turn, who has `own`.
    pub(super) fn fastest(&self, own: &Arc<Pace>) -> Arc<Pace> {
        let state = self.lock();
        let all = state.waiting.iter().chain([own]);
        let fastest = all.max_by_key(|pace| pace.bytes_per_second());
        Arc::clone(fastest.unwrap_or(own))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Place<'a> {
    fn among(turns: &'a Turns, pace: &'a Arc<Pace>) -> Self {
        turns.lock().waiting.push(Arc::clone(pace));
        Self { turns, pace }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let waiting = &mut self.turns.lock().waiting;
        if let Some(at) = waiting.iter().position(|pace| Arc::ptr_eq(pace, self.pace)) {
            waiting.remove(at);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().is_taken = false;
        self.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests;
