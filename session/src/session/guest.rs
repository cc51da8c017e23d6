//! The guest of a session, as its commands reach it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use agent::protocol::COMMAND_PORT;

use super::phase::{Doing, Phase};
use super::{Shared, not_running};
use crate::activity::{Counted, Occupied};
use crate::command::{Connection, Guest};
use crate::error::{Error, Repr};
use crate::machine::Watch;

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
            Ok(watch) => watch.exit_within(patience)?.reason,
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
        match &shared.lock().phase {
            Phase::Running(live) => Ok(live.machine.watch()),
            Phase::Busy(Doing::Ending, _) => Err(not_running("it is being ended")),
            Phase::Busy(Doing::Rebooting, _) => Err(not_running("it is rebooting")),
            Phase::Halted(halted) => Err(match &halted.crash {
                Some(exit) => Repr::GuestGone { exit: exit.clone() }.into(),
                None => not_running("it was shut down"),
            }),
            Phase::Stopped(_) => Err(not_running("it was shut down")),
            Phase::Removed => Err(not_running("it was terminated or dropped")),
        }
    }
}

impl Guest for GuestLink {
    fn connect(&self) -> Result<Box<dyn Connection>, Error> {
        if let Some(gone) = self.gone(Duration::ZERO) {
            return Err(gone);
        }
        let reached = self
            .0
            .upgrade()
            .and_then(|shared| match &shared.lock().phase {
                Phase::Running(live) => Some((live.vsock.clone(), Arc::clone(&shared.activity))),
                _ => None,
            });
        let (vsock, activity) = reached.ok_or_else(|| not_running("it is being ended"))?;
        let doing = "starting a command";
        match vsock.connect(COMMAND_PORT, CONNECT_PATIENCE) {
            Ok(stream) => {
                let stream: Box<dyn Connection> = Box::new(stream);
                Ok(Box::new(Counted::new(stream, activity)))
            }
            Err(source) => Err(self.explain(Repr::Connection { doing, source }.into())),
        }
    }

    fn occupy(&self) -> Occupied {
        let shared = self.0.upgrade();
        shared.map_or_else(Occupied::default, |shared| shared.activity.command())
    }

    fn has_answered(&self) {
        if let Some(shared) = self.0.upgrade()
            && let Phase::Running(live) = &shared.lock().phase
        {
            live.machine.has_started();
            live.background.has_started();
        }
    }

    fn explain(&self, error: Error) -> Error {
        self.gone(GONE_PATIENCE).unwrap_or(error)
    }
}
