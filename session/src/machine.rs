//! A guest that runs: its VM, its console, and the connection to its agent.
//!
//! Invariant: when a call here fails or ends the machine, the VM has ended and calls no disk any more.

mod boot;
mod news;
mod spec;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use vmm_core::{Exit, Vm, VsockHost, VsockStream};

use crate::console::Console;
use crate::control::{Channel, Talk};
use crate::disk::RootDisk;
use crate::error::{Error, one_line};
use crate::kernel::HeldKernel;
use crate::telemetry::{End, RunningGuest};
use boot::{Boot, GONE_PATIENCE};

pub(crate) use spec::{Attached, Spec};
pub(crate) use watch::{Gone, GoneKind, Watch};

/// What the agent knows the root disk by.
pub(crate) const ROOT_SERIAL: &str = "session-root";

/// The part of the time for a shutdown, in quarters, that the guest's own init gets before the agent forces it.
const GRACE_QUARTERS: u32 = 3;

/// How long the steps of a boot took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BootTimes {
    /// Setting up the VM.
    pub(crate) start: Duration,
    /// From the VM's start to the agent's first words.
    pub(crate) hello: Duration,
    /// From the VM's start until the guest took commands.
    pub(crate) ready: Duration,
}

/// A guest that takes commands, or did so until it ended.
#[derive(Debug)]
pub(crate) struct Machine {
    vm: Vm,
    watch: Watch,
    vsock: VsockHost,
    control: Control,
    console: Console,
    disk: Arc<RootDisk>,
    /// What of the guest's identity could not be carried out.
    complaints: Vec<String>,
    running: RunningGuest,
    /// Kept for sessions that start while this one runs.
    _kernel: HeldKernel,
}

/// The agent's control connection, for one question at a time. Clones are the same connection.
#[derive(Debug, Clone)]
pub(crate) struct Control(Arc<Mutex<Channel<VsockStream>>>);

impl Control {
    /// Asks something that must be answered within `patience`. Whoever asked before may take that time, too.
    pub(crate) fn ask<T>(
        &self,
        patience: Duration,
        question: impl FnOnce(&mut Talk<'_, VsockStream>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        // A time that the clock can't express is as good as never.
        let deadline = Instant::now().checked_add(patience);
        let mut channel = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        question(&mut channel.until(deadline))
    }
}

/// How a machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// With a root file system that was unmounted, or made read-only: its journal has nothing to replay.
    pub(crate) clean: bool,
}

impl Machine {
    /// Boots a guest until its agent takes commands. `begun_with` is told of the machine as soon as there is one.
    pub(crate) fn boot(spec: Spec, begun_with: &dyn Fn(Watch)) -> Result<(Self, BootTimes), Error> {
        let parts = spec.into_parts();
        let begun = Instant::now();
        let vm = Vm::start(parts.vm)?;
        let start = begun.elapsed();
        let watch = Watch::new(&vm, &parts.console, &parts.has_tripped);
        begun_with(watch.clone());
        let boot = Boot {
            vm: &vm,
            watch: &watch,
            console: &parts.console,
            events: &parts.events,
            has_modules: parts.has_modules,
            begun,
            patience: parts.deadline,
        };
        let greeted = boot.greet(parts.agent);
        let greeted = greeted.map_err(|error| boot.explain(error))?;
        let times = BootTimes {
            start,
            hello: greeted.hello,
            ready: greeted.ready,
        };
        let machine = Self {
            vm,
            watch,
            vsock: greeted.vsock,
            control: Control(Arc::new(Mutex::new(Channel::new(greeted.control)))),
            console: parts.console,
            disk: parts.disk,
            complaints: greeted.complaints,
            running: RunningGuest::new(),
            _kernel: parts.kernel,
        };
        Ok((machine, times))
    }

    /// What the guest reads from now on does not belong to its start any more.
    pub(crate) fn has_started(&self) {
        self.disk.end_recording();
    }

    /// What of the guest's identity the agent could not carry out, one line each.
    pub(crate) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// Where commands connect to.
    pub(crate) fn vsock(&self) -> VsockHost {
        self.vsock.clone()
    }

    /// Where its agent is asked things.
    pub(crate) fn control(&self) -> Control {
        self.control.clone()
    }

    /// What the guest prints.
    pub(crate) fn console(&self) -> Console {
        self.console.clone()
    }

    /// What its end can be awaited and brought about with.
    pub(crate) fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// Shuts the guest down, and ends it by force if that takes longer than `timeout`.
    pub(crate) fn power_off(&self, timeout: Duration) -> Ended {
        self.has_started();
        // A time that the clock can't express is as good as never.
        let deadline = Instant::now().checked_add(timeout);
        let left = || {
            deadline.map_or(Duration::MAX, |d| {
                d.saturating_duration_since(Instant::now())
            })
        };
        let had_ended = self.vm.wait_timeout(Duration::ZERO).is_some();
        if !had_ended {
            let grace = (timeout / 4 * GRACE_QUARTERS).as_millis();
            let grace = u32::try_from(grace).unwrap_or(u32::MAX);
            let asked = self.control.ask(left(), |talk| {
                talk.ask_to_power_off(grace)?;
                // What counts is that the guest ends, which may take it the words.
                if let Err(error) = talk.hear_powering_off() {
                    let error = one_line(&error);
                    tracing::warn!(error, "a guest did not say that it powers off");
                }
                Ok(())
            });
            if let Err(error) = asked {
                // The guest may just be ending by itself.
                tracing::warn!(%error, "a guest did not take the request to power off");
                self.end_by_force(GONE_PATIENCE.min(left()));
            }
        }
        self.end_by_force(left());
        let exit = self.vm.wait();
        tracing::debug!(?exit, "a guest ended");
        self.running.ended(match exit {
            _ if had_ended => End::Guest,
            Exit::Stopped => End::Forced,
            _ => End::Shutdown,
        });
        Ended {
            clean: self.disk.has_clean_root(),
        }
    }

    fn end_by_force(&self, patience: Duration) {
        if self.vm.wait_timeout(patience).is_none() {
            tracing::warn!("a guest is stopped by force");
            self.vm.stop();
        }
    }
}
