//! The guest of a session, as its commands reach it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use agent::protocol::COMMAND_PORT;

use super::phase::Phase;
use super::{Shared, not_running};
use crate::command::{Connection, Guest};
use crate::error::{Error, Repr};
use crate::machine::Watch;
use crate::telemetry;

/// How long the agent may take to accept a command.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);

/// How long a guest whose connection broke may take to be gone altogether.
const GONE_PATIENCE: Duration = Duration::from_secs(1);

/// A way to the guest that doesn't keep the session alive.
#[derive(Debug)]
pub(super) struct GuestLink(Weak<Shared>);

impl GuestLink {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::downgrade(shared))
    }

    /// Why there is no guest any more, if so.
    fn gone(&self, patience: Duration) -> Option<Error> {
        // The phase is not held while the wait lasts: others need it.
        let exit = match self.watch() {
            Ok(watch) => watch.exit_within(patience)?,
            Err(gone) => return Some(gone),
        };
        // It may have been ended meanwhile, which says more than how its VM ended.
        let gone = self.watch().err();
        Some(gone.unwrap_or_else(|| Repr::GuestGone { exit }.into()))
    }

    fn watch(&self) -> Result<Watch, Error> {
        let Some(shared) = self.0.upgrade() else {
            return Err(not_running("it was dropped"));
        };
        let phase = shared.phase();
        match &*phase {
            Phase::Running(live) => Ok(live.machine.watch()),
            Phase::Ending(_) => Err(not_running("it is being ended")),
            Phase::Halted(_) | Phase::Stopped(_) => Err(not_running("it was shut down")),
            Phase::Removed => Err(not_running("it was terminated or dropped")),
        }
    }
}

impl Guest for GuestLink {
    fn connect(&self) -> Result<Box<dyn Connection>, Error> {
        if let Some(gone) = self.gone(Duration::ZERO) {
            return Err(gone);
        }
        let vsock = self.0.upgrade().and_then(|shared| match &*shared.phase() {
            Phase::Running(live) => Some(live.vsock.clone()),
            _ => None,
        });
        let vsock = vsock.ok_or_else(|| not_running("it is being ended"))?;
        let doing = "starting a command";
        match vsock.connect(COMMAND_PORT, CONNECT_PATIENCE) {
            Ok(stream) => Ok(Box::new(stream)),
            Err(source) => Err(self.explain(Repr::Connection { doing, source }.into())),
        }
    }

    fn has_answered(&self) {
        telemetry::command_ended();
        if let Some(shared) = self.0.upgrade()
            && let Phase::Running(live) = &*shared.phase()
        {
            live.machine.has_started();
            live.background.has_started();
        }
    }

    fn explain(&self, error: Error) -> Error {
        telemetry::guest_failed(&error);
        self.gone(GONE_PATIENCE).unwrap_or(error)
    }
}
