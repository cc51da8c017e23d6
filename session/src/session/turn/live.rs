//! What is done with a session while its guest runs.

use super::Turn;
use crate::about::About;
use crate::error::Error;
use crate::limits::Limits;
use crate::record::RecordState;
use crate::session::not_running;
use crate::session::phase::{Live, Phase};

impl Turn {
    /// Makes the guest stand still, if it does not.
    pub(in crate::session) fn pause(self) -> Result<(), Error> {
        let watch = self.live(|live| Ok(live.machine.watch()))?;
        watch.pause();
        let written = self.note_pause(RecordState::Paused);
        if written.is_err() {
            watch.unpause();
        }
        written
    }

    /// Lets the guest go on, if it stands still.
    pub(in crate::session) fn unpause(self) -> Result<(), Error> {
        let watch = self.live(|live| Ok(live.machine.watch()))?;
        self.note_pause(RecordState::Open)?;
        watch.unpause();
        Ok(())
    }

    fn note_pause(&self, state: RecordState) -> Result<(), Error> {
        self.live(|live| {
            if live.holding.record().state != state {
                live.holding.set_state(state)?;
            }
            live.is_paused = state == RecordState::Paused;
            Ok(())
        })
    }

    /// Changes the session's limits.
    pub(in crate::session) fn set_limits(self, limits: Limits) -> Result<(), Error> {
        let written = limits.clone();
        self.live(|live| live.holding.change(|record| record.limits = written))?;
        *self.shared.limits() = limits;
        Ok(())
    }

    /// Changes what is noted of the session, running or stopped.
    pub(in crate::session) fn describe(self, change: impl FnOnce(&mut About)) -> Result<(), Error> {
        let (is_stopped, store) = {
            let inner = self.shared.lock();
            let is_stopped = matches!(inner.phase, Phase::Stopped(_));
            (is_stopped, self.shared.store.clone())
        };
        if is_stopped {
            return store.describe_session(&self.shared.id, change);
        }
        self.live(|live| {
            let mut about = live.holding.record().about.clone();
            change(&mut about);
            about.check()?;
            live.holding.change(|record| record.about = about)
        })
    }

    /// Does something short with a session that runs.
    pub(super) fn live<T>(
        &self,
        work: impl FnOnce(&mut Live) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match &mut self.shared.lock().phase {
            Phase::Running(live) => work(live),
            // An operation that has taken the rest has the turn, too.
            Phase::Busy(..) => Err(not_running("it is being ended")),
            Phase::Halted(_) => Err(not_running("its guest is gone")),
            Phase::Stopped(_) => Err(not_running("it was shut down")),
            Phase::Removed => Err(not_running("it was terminated or dropped")),
        }
    }
}
