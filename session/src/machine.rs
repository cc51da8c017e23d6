//! A guest that runs: its VM, its console, and the connection to its agent.
//!
//! Invariant: when a call here fails or ends the machine, the VM has ended and calls no disk any more.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use agent::protocol::{CONTROL_PORT, Config};
use vmm_core::{
    BlockBackend, Drive, Exit, Metrics, Net, RECOMMENDED_COMMAND_LINE, Vm, VmConfig, VmHandle,
    VsockHost, VsockStream,
};

use crate::console::{Console, ConsoleFiles};
use crate::control::{self, Channel, Talk, Timed};
use crate::disk::RootDisk;
use crate::error::{Error, Repr, one_line};
use crate::kernel::HeldKernel;
use crate::telemetry::{self, End, RunningGuest};

/// The guest's address; it means something to its own VM alone.
const CID: u32 = 3;

/// What the agent knows the root disk by.
pub(crate) const ROOT_SERIAL: &str = "session-root";

/// Nobody logs in on the console, which has no input. Without udev in the image, systemd would wait 90 s for it.
const NO_GETTY: &str = "systemd.getty_auto=0";

/// How long a guest whose connection broke may take to be gone altogether.
const GONE_PATIENCE: Duration = Duration::from_secs(2);

/// The part of the time for a shutdown, in quarters, that the guest's own init gets before the agent forces it.
const GRACE_QUARTERS: u32 = 3;

/// Said of guests that did not come up.
const NO_MODULES: &str = "; it was given no kernel modules: name their folder if the kernel's virtio drivers or ext4 are modules";

/// A machine to be booted.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) kernel: HeldKernel,
    pub(crate) has_modules: bool,
    pub(crate) initramfs: Vec<u8>,
    pub(crate) nets: Vec<Net>,
    pub(crate) vcpus: u8,
    pub(crate) memory_mib: u32,
    pub(crate) disk: Arc<RootDisk>,
    pub(crate) drives: Vec<Attached>,
    pub(crate) console: ConsoleFiles,
    pub(crate) config: Config,
    /// How long it may take until the guest takes commands.
    pub(crate) deadline: Duration,
}

/// A further drive of a machine.
#[derive(Debug)]
pub(crate) struct Attached {
    /// What the agent knows it by.
    pub(crate) serial: String,
    pub(crate) read_only: bool,
    pub(crate) disk: Arc<RootDisk>,
}

impl From<Attached> for Drive {
    fn from(attached: Attached) -> Self {
        let limiter = attached.disk.limiter().clone();
        let mut drive = Self::new(attached.disk);
        drive.serial = attached.serial;
        drive.read_only = attached.read_only;
        drive.limiter = limiter;
        drive
    }
}

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
}

impl Watch {
    /// Why the guest is gone, if it is within `patience`.
    pub(crate) fn exit_within(&self, patience: Duration) -> Option<Gone> {
        let exit = self.vm.wait_timeout(patience)?;
        Some(gone(&exit, &self.console))
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
        let console = Console::new(spec.console);
        let begun = Instant::now();
        let mut root = Drive::new(Arc::clone(&spec.disk) as Arc<dyn BlockBackend>);
        root.serial = ROOT_SERIAL.to_owned();
        root.limiter = spec.disk.limiter().clone();
        let mut config = VmConfig::new(spec.kernel.kernel());
        config.initrd = Some(spec.initramfs);
        config.command_line = format!("{RECOMMENDED_COMMAND_LINE} {NO_GETTY}");
        config.vcpus = spec.vcpus;
        config.memory_mib = spec.memory_mib;
        let further = spec.drives.into_iter().map(Drive::from);
        config.drives = std::iter::once(root).chain(further).collect();
        config.nets = spec.nets;
        config.vsock_cid = Some(CID);
        config.console = Box::new(console.clone());
        let vm = Vm::start(config)?;
        let start = begun.elapsed();
        begun_with(Watch {
            vm: vm.handle(),
            console: console.clone(),
        });
        let boot = Boot {
            vm: &vm,
            console: &console,
            has_modules: spec.has_modules,
            begun,
            patience: spec.deadline,
        };
        let greeted = boot.greet(spec.config);
        let greeted = greeted.map_err(|error| boot.explain(error))?;
        let times = BootTimes {
            start,
            hello: greeted.hello,
            ready: greeted.ready,
        };
        let Greeted {
            vsock,
            control,
            complaints,
            ..
        } = greeted;
        Ok((
            Self {
                vm,
                vsock,
                control: Control(Arc::new(Mutex::new(Channel::new(control)))),
                console,
                disk: spec.disk,
                complaints,
                running: RunningGuest::new(),
                _kernel: spec.kernel,
            },
            times,
        ))
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
        Watch {
            vm: self.vm.handle(),
            console: self.console.clone(),
        }
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

/// A guest whose agent has answered.
struct Greeted {
    vsock: VsockHost,
    control: VsockStream,
    complaints: Vec<String>,
    hello: Duration,
    ready: Duration,
}

fn waiting(source: io::Error) -> Error {
    let doing = "waiting for it to answer";
    Repr::Connection { doing, source }.into()
}

/// A boot under way.
struct Boot<'a> {
    vm: &'a Vm,
    console: &'a Console,
    has_modules: bool,
    begun: Instant,
    patience: Duration,
}

impl Boot<'_> {
    fn greet(&self, config: Config) -> Result<Greeted, Error> {
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
        let complaints = control::configure(&mut timed, config)?.complaints;
        let ready = self.begun.elapsed();
        Ok(Greeted {
            vsock,
            control,
            complaints,
            hello,
            ready,
        })
    }

    /// Says in one error why the guest did not come up, whatever the connection to it had to say.
    fn explain(&self, error: Error) -> Error {
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
        match self.vm.wait_timeout(GONE_PATIENCE) {
            Some(exit) => {
                let how = gone(&exit, self.console).reason;
                Repr::GuestStopped {
                    how: self.with_hint(how),
                }
                .into()
            }
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

fn gone(exit: &Exit, console: &Console) -> Gone {
    let (kind, reason) = match exit {
        Exit::PowerOff => (GoneKind::PowerOff, "it powered itself off".to_owned()),
        Exit::Reboot => match console.panic_line() {
            Some(line) => (GoneKind::Crash, format!("its kernel panicked: {line}")),
            None => (GoneKind::Reboot, "it rebooted".to_owned()),
        },
        Exit::Stopped => (GoneKind::Stopped, "it was stopped".to_owned()),
        Exit::Failed(error) => (GoneKind::Crash, one_line(&**error)),
    };
    Gone { kind, reason }
}
