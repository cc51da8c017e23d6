//! The boot of a machine, until its agent takes commands.

use std::io;
use std::time::{Duration, Instant};

use agent::protocol::{CONTROL_PORT, Config};
use vmm_core::{Vm, VsockHost, VsockStream};

use super::watch::Watch;
use crate::console::Console;
use crate::control::{self, Timed};
use crate::error::{Error, Repr};
use crate::event::{Event, Events, StartStep};
use crate::telemetry;

/// How long a guest whose connection broke may take to be gone altogether.
pub(super) const GONE_PATIENCE: Duration = Duration::from_secs(2);

/// Said of guests that did not come up.
const NO_MODULES: &str = "; it was given no kernel modules: name their folder if the kernel's virtio drivers or ext4 are modules";

/// A guest whose agent has answered.
pub(super) struct Greeted {
    pub(super) vsock: VsockHost,
    pub(super) control: VsockStream,
    pub(super) complaints: Vec<String>,
    pub(super) hello: Duration,
    pub(super) ready: Duration,
}

fn waiting(source: io::Error) -> Error {
    let doing = "waiting for it to answer";
    Repr::Connection { doing, source }.into()
}

/// A boot under way.
pub(super) struct Boot<'a> {
    pub(super) vm: &'a Vm,
    pub(super) watch: &'a Watch,
    pub(super) console: &'a Console,
    pub(super) events: &'a Events,
    pub(super) has_modules: bool,
    pub(super) begun: Instant,
    pub(super) patience: Duration,
}

impl Boot<'_> {
    pub(super) fn greet(&self, config: Config) -> Result<Greeted, Error> {
        self.tell(StartStep::Booting);
        let vsock = self.vm.vsock().ok_or(Repr::AgentConfused {
            what: "its VM has no vsock device",
        })?;
        let listener = vsock.listen(CONTROL_PORT).map_err(waiting)?;
        let left = self.patience.saturating_sub(self.begun.elapsed());
        let control = listener.accept(Some(left)).map_err(waiting)?;
        // A time that the clock can't express is as good as never.
        let mut timed = Timed::new(&control, self.begun.checked_add(self.patience));
        control::hear_hello(&mut timed)?;
        let hello = self.begun.elapsed();
        self.tell(StartStep::Configuring);
        let complaints = control::configure(&mut timed, config)?.complaints;
        let ready = self.begun.elapsed();
        self.tell(StartStep::Ready);
        Ok(Greeted {
            vsock,
            control,
            complaints,
            hello,
            ready,
        })
    }

    fn tell(&self, step: StartStep) {
        self.events.tell(Event::Starting { step });
    }

    /// Says in one error why the guest did not come up, whatever the connection to it had to say.
    pub(super) fn explain(&self, error: Error) -> Error {
        telemetry::guest_failed(&error);
        if matches!(error.repr(), Repr::Agent { .. }) {
            return error;
        }
        if error.io_kind() == Some(io::ErrorKind::TimedOut) {
            let seconds = self.patience.as_secs();
            let advice = "raise the boot deadline if it is only slow".to_owned();
            let advice = self.with_hint(advice);
            return Repr::BootTimeout { seconds, advice }.into();
        }
        match self.watch.exit_within(GONE_PATIENCE) {
            Some(gone) => Repr::GuestStopped {
                how: self.with_hint(gone.reason),
            }
            .into(),
            None => error,
        }
    }

    /// What the console has to say that `how` does not, and what may be missing.
    fn with_hint(&self, how: String) -> String {
        let mut text = how;
        match self.console.panic_line() {
            Some(line) if text.contains(&line) => {}
            Some(line) => text.push_str(&format!("; its kernel's words: {line}")),
            None => {
                let lines = self.console.last_lines();
                text.push_str(&format!("; its console's last lines: {lines}"));
            }
        }
        if !self.has_modules {
            text.push_str(NO_MODULES);
        }
        text
    }
}
