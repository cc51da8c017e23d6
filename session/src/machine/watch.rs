//! The life of a machine, as those see it who don't own it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use vmm_core::{Exit, Metrics, Vm, VmHandle};

use crate::console::Console;
use crate::error::one_line;

/// How a machine ended that nobody stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) kind: GoneKind,
    /// For people.
    pub(crate) reason: String,
}

/// What the guest, or the host, wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GoneKind {
    /// The guest switched itself off.
    PowerOff,
    /// The guest wants to be started again.
    Reboot,
    /// It was stopped by its owner.
    Stopped,
    /// The guest's kernel, or its VM, could not go on.
    Crash,
}

/// The life of a machine, for those who don't own it.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    vm: VmHandle,
    console: Console,
    /// Whether the guest was reset because a processor of its had lost its way.
    has_tripped: Arc<AtomicBool>,
}

impl Watch {
    pub(super) fn new(vm: &Vm, console: &Console, has_tripped: &Arc<AtomicBool>) -> Self {
        Self {
            vm: vm.handle(),
            console: console.clone(),
            has_tripped: Arc::clone(has_tripped),
        }
    }

    /// Why the guest is gone, if it is within `patience`.
    pub(crate) fn exit_within(&self, patience: Duration) -> Option<Gone> {
        let exit = self.vm.wait_timeout(patience)?;
        Some(self.gone(&exit))
    }

    /// What the machine has done so far.
    pub(crate) fn metrics(&self) -> Metrics {
        self.vm.metrics()
    }

    /// Makes the guest stand still.
    pub(crate) fn pause(&self) {
        self.vm.pause();
    }

    /// Lets the guest go on.
    pub(crate) fn unpause(&self) {
        self.vm.resume();
    }

    /// Ends the guest by force, without waiting for it.
    pub(crate) fn stop(&self) {
        self.vm.stop();
    }

    fn gone(&self, exit: &Exit) -> Gone {
        let (kind, reason) = match exit {
            Exit::PowerOff => (GoneKind::PowerOff, "it powered itself off".to_owned()),
            Exit::Reboot => reset(&self.console, self.has_tripped.load(Ordering::Acquire)),
            Exit::Stopped => (GoneKind::Stopped, "it was stopped".to_owned()),
            Exit::Failed(error) => (GoneKind::Crash, one_line(&**error)),
        };
        Gone { kind, reason }
    }
}

/// Why a guest was reset. A kernel that panicked asks for that, and so does one that reboots.
fn reset(console: &Console, has_tripped: bool) -> (GoneKind, String) {
    match console.panic_line() {
        Some(line) => (GoneKind::Crash, format!("its kernel panicked: {line}")),
        None if has_tripped => {
            let lines = console.last_lines();
            let reason = format!(
                "its kernel lost its way (a triple fault); its console's last lines: {lines}"
            );
            (GoneKind::Crash, reason)
        }
        None => (GoneKind::Reboot, "it rebooted".to_owned()),
    }
}

#[cfg(test)]
mod tests;
