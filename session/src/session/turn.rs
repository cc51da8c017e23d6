//! The phase of a session in the hands of the operation that ends it.
//!
//! Invariant: whatever becomes of the operation, be it that its thread can't be started or that it panics, the phase
//! goes back, so that the session can be ended again.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rootfs_store::Progress;

use super::phase::{Live, Phase};
use super::{Shared, not_running};
use crate::error::Error;
use crate::snapshot::Snapshot;
use crate::store;
use crate::telemetry;

/// The right to end a session; nobody else has it until this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    shared: Arc<Shared>,
    phase: Phase,
}

impl Turn {
    /// Takes the phase out, unless another operation has it.
    pub(super) fn take(shared: &Arc<Shared>) -> Result<Self, Error> {
        let mut phase = shared.phase();
        match &*phase {
            Phase::Ending(_) => Err(not_running("it is being ended already")),
            Phase::Removed => Err(not_running("it was terminated")),
            taken => {
                let ending = Phase::Ending(taken.watch());
                let phase = mem::replace(&mut *phase, ending);
                Ok(Self {
                    shared: Arc::clone(shared),
                    phase,
                })
            }
        }
    }

    /// Powers the guest off, and makes a snapshot of its disk, which `progress` is told of.
    pub(super) fn shut_down(self, progress: &dyn Progress) -> Result<Snapshot, Error> {
        telemetry::of_session(&self.shared.id);
        let begun = Instant::now();
        let snapshot = self.power_off_and_commit(progress)?;
        telemetry::shut_down(begun.elapsed());
        Ok(snapshot)
    }

    fn power_off_and_commit(mut self, progress: &dyn Progress) -> Result<Snapshot, Error> {
        if let Phase::Running(live) = &self.phase {
            live.background.cancel();
            let begun = Instant::now();
            let ended = live.machine.power_off(self.shared.shutdown_timeout);
            self.shared.timings().power_off = Some(begun.elapsed());
            self.phase.halt(ended.clean);
        }
        if self.shared.is_doomed() {
            return Err(not_running("it is being terminated"));
        }
        let halted = match &mut self.phase {
            Phase::Halted(halted) => halted,
            Phase::Stopped(snapshot) => return Ok(snapshot.clone()),
            Phase::Running(_) | Phase::Ending(_) | Phase::Removed => {
                return Err(not_running("it is gone"));
            }
        };
        let begun = Instant::now();
        let committed = halted.holding.commit(halted.clean, progress);
        self.shared.timings().commit = Some(begun.elapsed());
        if let Ok(snapshot) = &committed {
            // The lock is let go here, before anyone can see that the session is stopped.
            self.phase = Phase::Stopped(snapshot.clone());
        }
        committed
    }

    /// Ends the guest by force, and throws the session away.
    pub(super) fn terminate(mut self) -> Result<(), Error> {
        telemetry::of_session(&self.shared.id);
        match mem::replace(&mut self.phase, Phase::Removed) {
            Phase::Running(live) => {
                let Live {
                    machine,
                    background,
                    holding,
                    ..
                } = *live;
                background.cancel();
                drop(machine);
                drop(background);
                holding.discard()
            }
            Phase::Halted(halted) => halted.holding.discard(),
            Phase::Stopped(_) => store::remove_session(self.shared.store.inner(), &self.shared.id),
            Phase::Ending(_) | Phase::Removed => Ok(()),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.shared.phase() = mem::replace(&mut self.phase, Phase::Removed);
        self.shared.settled.notify_all();
    }
}

/// A termination that waits for its turn: it cuts short whoever has it.
#[derive(Debug)]
pub(super) struct Doom(Arc<Shared>);

impl Doom {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        shared.dooms.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(shared))
    }

    /// Takes the turn once it is free.
    pub(super) fn wait(&self) -> Result<Turn, Error> {
        loop {
            let phase = self.0.phase();
            if let Phase::Ending(Some(watch)) = &*phase {
                watch.stop();
            }
            let settled = self
                .0
                .settled
                .wait_while(phase, |phase| matches!(phase, Phase::Ending(_)));
            drop(settled);
            match Turn::take(&self.0) {
                // Somebody was faster.
                Err(_) if matches!(*self.0.phase(), Phase::Ending(_)) => {}
                taken => return taken,
            }
        }
    }
}

impl Drop for Doom {
    fn drop(&mut self) {
        self.0.dooms.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
