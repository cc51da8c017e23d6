//! What is done with a session while its guest runs.

use std::sync::Arc;

use super::Turn;
use crate::about::About;
use crate::clock;
use crate::error::Error;
use crate::limits::Limits;
use crate::record::{Record, RecordState};
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
        let now = clock::unix(self.shared.store.clock());
        let noted = self.live(|live| Ok(live.holding.record().state))?;
        if noted != state {
            self.write(|record| {
                record.enter(state, now);
                Ok(())
            })?;
        }
        self.live(|live| {
            let is_paused = state == RecordState::Paused;
            live.pauses += u64::from(is_paused && !live.is_paused);
            live.is_paused = is_paused;
            Ok(())
        })
    }

    /// Changes the session's limits.
    pub(in crate::session) fn set_limits(self, limits: Limits) -> Result<(), Error> {
        let written = limits.clone();
        self.write(|record| {
            record.limits = written;
            Ok(())
        })?;
        *self.shared.limits() = limits;
        Ok(())
    }

    /// Changes what is noted of the session, running or stopped.
    pub(in crate::session) fn describe(self, change: impl FnOnce(&mut About)) -> Result<(), Error> {
        let is_stopped = matches!(self.shared.lock().phase, Phase::Stopped(_));
        if is_stopped {
            let store = self.shared.store.clone();
            return store.describe_session(&self.shared.id, change);
        }
        self.write(|record| {
            change(&mut record.about);
            record.about.check()
        })
    }

    /// Changes the record of a session that runs, durably; if that fails it is as it was. Others may look at the session
    /// meanwhile, and `change` may ask it things: the turn keeps everyone else from the record.
    fn write(&self, change: impl FnOnce(&mut Record) -> Result<(), Error>) -> Result<(), Error> {
        let (folder, mut record) = self.live(|live| {
            let folder = Arc::clone(live.holding.folder());
            Ok((folder, live.holding.record().clone()))
        })?;
        change(&mut record)?;
        folder.write(&record)?;
        self.live(|live| {
            live.holding.was_written(record);
            Ok(())
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
            Phase::Removing(_) | Phase::Removed => Err(not_running("it was terminated or dropped")),
        }
    }
}
