//! Shutting a session down, and throwing it away.

use std::sync::Arc;
use std::time::Instant;

use rootfs_store::Progress;

use super::Turn;
use crate::error::Error;
use crate::folder;
use crate::machine::{Gone, GoneKind};
use crate::record::RecordState;
use crate::session::not_running;
use crate::session::phase::{Doing, Phase};
use crate::snapshot::Snapshot;
use crate::store;
use crate::telemetry;

impl Turn {
    /// Powers the guest off, and makes a snapshot of its disk, which `progress` is told of.
    pub(in crate::session) fn shut_down(
        mut self,
        progress: &dyn Progress,
    ) -> Result<Snapshot, Error> {
        match &self.shared.lock().phase {
            Phase::Stopped(snapshot) => return Ok(snapshot.clone()),
            Phase::Removing(_) | Phase::Removed => return Err(not_running("it was terminated")),
            _ => {}
        }
        let asked = Instant::now();
        let phase = self.take_out(Doing::Ending);
        // What is not written down, a later look at the session would only see as running.
        if let Phase::Running(live) = phase
            && let Err(error) = live.holding.set_state(RecordState::ShuttingDown)
        {
            tracing::warn!(%error, "could not write down that a session is being shut down");
        }
        self.power_off();
        if self.shared.is_doomed() {
            return Err(not_running("it is being terminated"));
        }
        let Some(Phase::Halted(halted)) = &mut self.taken else {
            return Err(not_running("it is gone"));
        };
        let begun = Instant::now();
        let committed = halted.holding.commit(halted.clean, progress);
        self.shared.timings().commit = Some(begun.elapsed());
        if let Ok(snapshot) = &committed {
            // The lock is let go here, before anyone can see that the session is stopped.
            self.taken = Some(Phase::Stopped(snapshot.clone()));
            telemetry::shut_down(asked.elapsed());
        }
        committed
    }

    /// Ends the guest, if it runs: afterwards the phase that was taken out is `Halted`.
    pub(super) fn power_off(&mut self) {
        let Some(Phase::Running(live)) = &mut self.taken else {
            return;
        };
        live.background.cancel();
        if let Some(tasks) = &live.tasks {
            tasks.cancel();
        }
        let begun = Instant::now();
        // A guest that stands still can't power itself off.
        live.machine.watch().unpause();
        let ended = live.machine.power_off(self.shared.shutdown_timeout);
        self.shared.timings().power_off = Some(begun.elapsed());
        if let Some(phase) = &mut self.taken {
            phase.halt(ended.clean, None);
        }
    }

    /// Writes down that the guest crashed, and lets go of it. Its disk stays as after a power cut.
    pub(in crate::session) fn note_crash(mut self, gone: Gone) {
        debug_assert_eq!(gone.kind, GoneKind::Crash);
        self.take_out(Doing::Ending);
        let Some(Phase::Running(live)) = &mut self.taken else {
            return;
        };
        if let Err(error) = live.holding.fail(&gone.reason) {
            tracing::warn!(%error, "could not write down how a session's guest ended");
        }
        if let Some(phase) = &mut self.taken {
            phase.halt(false, Some(gone.reason));
        }
    }

    /// Ends the guest by force, and throws the session away. If that fails it may be tried again.
    pub(in crate::session) fn terminate(mut self) -> Result<(), Error> {
        self.take_out(Doing::Ending);
        let folder = match self.taken.replace(Phase::Removed) {
            Some(Phase::Running(live)) => live.end().into_folder(),
            Some(Phase::Halted(halted)) => halted.holding.into_folder(),
            Some(Phase::Removing(folder)) => folder,
            Some(Phase::Stopped(snapshot)) => {
                match folder::open(self.shared.store.dir(), &self.shared.id) {
                    Ok(folder) => Arc::new(folder),
                    // Somebody else has removed it.
                    Err(error) if error.is_not_found() => return Ok(()),
                    Err(error) => {
                        // Another process may run it.
                        self.taken = Some(Phase::Stopped(snapshot));
                        return Err(error);
                    }
                }
            }
            Some(Phase::Busy(..) | Phase::Removed) | None => return Ok(()),
        };
        let store = self.shared.store.inner();
        let removed = store::remove_locked(store, &self.shared.id, &folder);
        if removed.is_err() {
            self.taken = Some(Phase::Removing(folder));
        }
        removed
    }
}
