//! Where vCPUs wait while their VM is paused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A gate that each vCPU passes before it enters guest mode.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
    /// The same as in the state, for a look without the lock.
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    waiting: usize,
}

impl Gate {
    /// Passes, after a wait if the gate is closed; returns whether there was one.
    pub(super) fn pass(&self) -> bool {
        if !self.is_closed() {
            return false;
        }
        let mut state = self.lock();
        state.waiting += 1;
        self.changed.notify_all();
        let mut state = self
            .changed
            .wait_while(state, |state| state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        true
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.closed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn open(&self) {
        self.lock().closed = false;
        self.closed.store(false, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// How many vCPUs wait, looked at when that may have changed, or after `timeout`, if it is fewer than
    /// `enough` now.
    pub(crate) fn waiting(&self, enough: usize, timeout: Duration) -> usize {
        let state = self.lock();
        let is_short = |state: &mut State| state.waiting < enough;
        let waited = self.changed.wait_timeout_while(state, timeout, is_short);
        waited.unwrap_or_else(PoisonError::into_inner).0.waiting
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
