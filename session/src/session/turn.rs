//! The right to do something with a session that takes time: one operation at a time has it.
//!
//! Invariant: whatever becomes of the operation, be it that its thread can't be started or that it panics, the phase
//! goes back, so that the next one finds the session as it is.

mod end;
mod fork;
mod live;
mod reboot;
mod snapshot;

use std::mem;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::phase::{Doing, Phase};
use super::shared::{Inner, Shared};
use crate::telemetry;

/// The wish to do something with a session. While it lives, a dropped session is not cut off.
#[derive(Debug)]
pub(super) struct Claim {
    shared: Arc<Shared>,
    turn: Option<Turn>,
}

impl Claim {
    /// Takes the turn at once if it is free.
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        shared.lock().claims += 1;
        Self {
            shared: Arc::clone(shared),
            turn: Turn::try_take(shared),
        }
    }

    /// Waits for the turn.
    pub(super) fn wait(mut self) -> Turn {
        telemetry::of_session(&self.shared.id);
        let turn = self.turn.take();
        turn.unwrap_or_else(|| Turn::take(&self.shared))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        inner.claims -= 1;
        let cut_off = inner.cut_off();
        drop(inner);
        if cut_off.is_some() {
            self.shared.settled.notify_all();
        }
        drop(cut_off);
    }
}

/// A termination, from its beginning on: whoever has the turn is cut short.
#[derive(Debug)]
pub(super) struct Doom(Arc<Shared>);

impl Doom {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        shared.dooms.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(shared))
    }

    /// Waits for the turn, and ends the guest that others may be waiting for.
    pub(super) fn wait(&self, claim: Claim) -> Turn {
        let watch = self.0.lock().phase.watch();
        if let Some(watch) = watch {
            watch.stop();
        }
        claim.wait()
    }
}

impl Drop for Doom {
    fn drop(&mut self) {
        self.0.dooms.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The right itself; nobody else has it until this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    shared: Arc<Shared>,
    /// The phase, if it was taken out.
    taken: Option<Phase>,
}

impl Turn {
    pub(super) fn try_take(shared: &Arc<Shared>) -> Option<Self> {
        Self::begin(shared, &mut shared.lock())
    }

    fn take(shared: &Arc<Shared>) -> Self {
        let mut inner = shared.lock();
        loop {
            if let Some(turn) = Self::begin(shared, &mut inner) {
                return turn;
            }
            let waited = shared.settled.wait(inner);
            inner = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn begin(shared: &Arc<Shared>, inner: &mut Inner) -> Option<Self> {
        if mem::replace(&mut inner.is_busy, true) {
            return None;
        }
        Some(Self {
            shared: Arc::clone(shared),
            taken: None,
        })
    }

    /// Takes the phase out, to be worked on without a lock. Others see what is being done, and the guest that there was.
    fn take_out(&mut self, doing: Doing) -> &mut Phase {
        let mut inner = self.shared.lock();
        let busy = Phase::Busy(doing, inner.phase.watch());
        let phase = mem::replace(&mut inner.phase, busy);
        drop(inner);
        self.shared.settled.notify_all();
        self.taken.insert(phase)
    }

    /// Puts the phase back, where others see it.
    fn put_back(&mut self) {
        if let Some(phase) = self.taken.take() {
            self.shared.lock().phase = phase;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.put_back();
        let mut inner = self.shared.lock();
        if matches!(inner.phase, Phase::Busy(..)) {
            // It was lost to a panic, which let go of all that it held.
            inner.phase = Phase::Removed;
        }
        inner.is_busy = false;
        let cut_off = inner.cut_off();
        drop(inner);
        self.shared.settled.notify_all();
        drop(cut_off);
    }
}

#[cfg(test)]
pub(super) mod tests;
