//! The guest of a session, as its commands reach it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use agent::protocol::COMMAND_PORT;

use super::phase::Phase;
use super::{Shared, not_running};
use crate::command::{Connection, Guest};
use crate::error::{Error, Repr};

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
        let Some(shared) = self.0.upgrade() else {
            return Some(not_running("it was dropped"));
        };
        let phase = shared.phase();
        match &*phase {
            Phase::Running(live) => {
                let exit = live.machine.exit_within(patience)?;
                Some(Repr::GuestGone { exit }.into())
            }
            Phase::Ending => Some(not_running("it is being ended")),
            Phase::Halted(_) | Phase::Stopped(_) => Some(not_running("it was shut down")),
            Phase::Removed => Some(not_running("it was terminated or dropped")),
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

    fn explain(&self, error: Error) -> Error {
        self.gone(GONE_PATIENCE).unwrap_or(error)
    }
}
