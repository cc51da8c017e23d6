//! Why a run ends, and whether all of it has been taken apart.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use super::Exit;
use crate::event::Event;
use crate::machine::PowerEvent;
use crate::vcpu::Stop;

/// The first reason to end, and whether everything has been taken apart.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    state: Mutex<OutcomeState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct OutcomeState {
    exit: Option<Exit>,
    /// The watchdog may be due earlier than who waits for it knows, or backends' calls are to be looked at.
    rearmed: bool,
    finished: bool,
}

impl Outcome {
    /// Ends the run for this reason, unless there is one already; returns whether this one counts.
    pub(super) fn end(&self, exit: Exit) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = state.exit.is_none();
        state.exit.get_or_insert(exit);
        self.changed.notify_all();
        is_first
    }

    /// Ends the run for what stopped a vCPU; returns what to tell the owner.
    pub(super) fn end_for(&self, stop: Stop) -> Option<Event> {
        let (exit, event) = match stop {
            Stop::Asked => return None,
            Stop::Power(PowerEvent::Off) => (Exit::PowerOff, Some(Event::PowerOffAsked)),
            Stop::Power(PowerEvent::Reset) => (Exit::Reboot, Some(Event::RebootAsked)),
            // It resets a PC.
            Stop::TripleFault { vcpu } => (Exit::Reboot, Some(Event::TripleFault { vcpu })),
            // The supervisor tells of it, as it does for threads that died.
            Stop::Failed(error) => (Exit::Failed(Arc::new(error)), None),
        };
        let is_first = self.end(exit);
        event.filter(|_| is_first)
    }

    /// The reason to end, if there is one.
    pub(super) fn reason(&self) -> Option<Exit> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.exit.clone()
    }

    /// Waits until there is a reason to end, `deadline` is past, or there may be another deadline; returns
    /// whether there is a reason.
    pub(super) fn wait_for_end(&self, deadline: Option<Instant>) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.exit.is_none() && !std::mem::take(&mut state.rearmed) {
            let Some(deadline) = deadline else {
                let waited = self.changed.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return false;
            };
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.exit.is_some()
    }

    /// Has who waits for a deadline ask for it again.
    pub(super) fn rearm(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.rearmed = true;
        self.changed.notify_all();
    }

    /// Everything has been taken apart.
    pub(super) fn finish(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.finished = true;
        self.changed.notify_all();
    }

    /// Waits until everything has been taken apart; `None` if that takes longer than to `deadline`.
    pub(super) fn wait_for_finish(&self, deadline: Option<Instant>) -> Option<Exit> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.finished {
            let Some(deadline) = deadline else {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.checked_duration_since(Instant::now())?;
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.exit.clone()
    }
}
