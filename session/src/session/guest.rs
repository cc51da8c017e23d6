//! The guest of a session, as its commands reach it.

use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use agent::protocol::COMMAND_PORT;
use vmm_core::{VsockHost, VsockListener};

use super::not_running;
use super::phase::{Doing, Phase};
use super::shared::{Inner, Shared};
use crate::activity::{Activity, Counted, CountedPort, Occupied};
use crate::command::{Close, Connection, Guest, Incoming};
use crate::error::{Error, Repr};
use crate::machine::Watch;
use crate::telemetry;

/// How long the agent may take to accept a command, pauses aside.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);

/// The host's vsock ports that guests' connections come to, one for each forward.
const FORWARD_PORTS: RangeInclusive<u32> = 2048..=3071;

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

    /// The way to the guest, and where is counted what goes it.
    fn vsock(&self) -> Result<(VsockHost, Arc<Activity>), Error> {
        let shared = self.0.upgrade();
        let reached = shared.and_then(|shared| match &shared.lock().phase {
            Phase::Running(live) => Some((live.vsock.clone(), Arc::clone(&shared.activity))),
            _ => None,
        });
        reached.ok_or_else(|| not_running("it is being ended"))
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
            Phase::Removing(_) | Phase::Removed => Err(not_running("it was terminated or dropped")),
        }
    }

    /// Waits while the guest stands still. Returns how often it has been made to.
    fn await_pause(&self) -> Result<u64, Error> {
        let Some(shared) = self.0.upgrade() else {
            return Err(not_running("it was dropped"));
        };
        let is_paused =
            |inner: &mut Inner| matches!(&inner.phase, Phase::Running(live) if live.is_paused);
        let waited = shared.settled.wait_while(shared.lock(), is_paused);
        match &waited.unwrap_or_else(PoisonError::into_inner).phase {
            Phase::Running(live) => Ok(live.pauses),
            _ => Err(not_running("it is being ended")),
        }
    }
}

/// Connects, with patience anew after each attempt that the guest stood still in. `await_pause` waits while it does, and
/// says how often it has been made to.
fn connect_between_pauses<T>(
    await_pause: impl Fn() -> Result<u64, Error>,
    connect: impl Fn() -> io::Result<T>,
) -> Result<T, Error> {
    let doing = "starting a command";
    let mut pauses = await_pause()?;
    loop {
        let source = match connect() {
            Ok(stream) => return Ok(stream),
            Err(source) => source,
        };
        let before = pauses;
        if source.kind() == io::ErrorKind::TimedOut {
            pauses = await_pause()?;
        }
        if pauses == before {
            return Err(Repr::Connection { doing, source }.into());
        }
    }
}

fn is_taken(listening: &io::Result<VsockListener>) -> bool {
    matches!(listening, Err(error) if error.kind() == io::ErrorKind::AddrInUse)
}

impl Guest for GuestLink {
    fn connect(&self) -> Result<Box<dyn Connection>, Error> {
        if let Some(gone) = self.gone(Duration::ZERO) {
            return Err(gone);
        }
        let (vsock, activity) = self.vsock()?;
        let connect = || vsock.connect(COMMAND_PORT, CONNECT_PATIENCE);
        match connect_between_pauses(|| self.await_pause(), connect) {
            Ok(stream) => {
                let stream: Box<dyn Connection> = Box::new(stream);
                Ok(Box::new(Counted::new(stream, activity)))
            }
            Err(error) => Err(self.explain(error)),
        }
    }

    fn occupy(&self) -> Occupied {
        let shared = self.0.upgrade();
        shared.map_or_else(Occupied::default, |shared| shared.activity.command())
    }

    fn listen(&self) -> Result<Arc<dyn Incoming>, Error> {
        let (vsock, activity) = self.vsock()?;
        let listening = FORWARD_PORTS
            .map(|port| vsock.listen(port))
            .find(|listening| !is_taken(listening));
        let doing = "listening for the guest";
        let listening = listening.unwrap_or(Err(io::ErrorKind::AddrInUse.into()));
        let port = listening.map_err(|source| Repr::Connection { doing, source })?;
        Ok(Arc::new(CountedPort::new(port, activity)))
    }

    fn close_at_end(&self, open: Weak<dyn Close>) -> Result<(), Error> {
        let shared = self
            .0
            .upgrade()
            .ok_or_else(|| not_running("it was dropped"))?;
        match &shared.lock().phase {
            Phase::Running(live) => live.doors.add(open),
            _ => return Err(not_running("it is being ended")),
        }
        Ok(())
    }

    fn has_answered(&self) {
        if let Some(shared) = self.0.upgrade()
            && let Phase::Running(live) = &shared.lock().phase
        {
            live.machine.has_started();
            live.background.has_started();
        }
    }

    fn stands_still(&self) -> bool {
        let Some(shared) = self.0.upgrade() else {
            return false;
        };
        // What an operation does to it is that operation's to limit.
        match &shared.lock().phase {
            Phase::Running(live) => live.is_paused,
            Phase::Busy(..) => true,
            _ => false,
        }
    }

    fn explain(&self, error: Error) -> Error {
        telemetry::guest_failed(&error);
        self.gone(GONE_PATIENCE).unwrap_or(error)
    }
}

#[cfg(test)]
mod tests;
