//! A guest that runs: its VM, its console, and the connection to its agent.
//!
//! Invariant: when a call here fails or ends the machine, the VM has ended and calls no disk any more.

mod superblock;

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::protocol::{CONTROL_PORT, Config};
use vmm_core::{
    BlockBackend, Drive, Exit, RECOMMENDED_COMMAND_LINE, ReadTarget, Vm, VmConfig, VmHandle,
    VsockHost, VsockStream,
};

use crate::console::Console;
use crate::control::{self, Timed};
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
    pub(crate) vcpus: u8,
    pub(crate) memory_mib: u32,
    pub(crate) disk: Arc<RootDisk>,
    pub(crate) drives: Vec<Attached>,
    pub(crate) console: File,
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
        let mut drive = Self::new(attached.disk);
        drive.serial = attached.serial;
        drive.read_only = attached.read_only;
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
    control: VsockStream,
    console: Console,
    disk: Arc<RootDisk>,
    running: RunningGuest,
    /// Kept for sessions that start while this one runs.
    _kernel: HeldKernel,
}

/// The end of a machine, for those who don't own it.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    vm: VmHandle,
    console: Console,
}

impl Watch {
    /// Why the guest is gone, if it is within `patience`.
    pub(crate) fn exit_within(&self, patience: Duration) -> Option<String> {
        let exit = self.vm.wait_timeout(patience)?;
        Some(describe(&exit, &self.console))
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
    /// Boots a guest until its agent takes commands.
    pub(crate) fn boot(spec: Spec) -> Result<(Self, BootTimes), Error> {
        let console = Console::new(spec.console);
        let begun = Instant::now();
        let mut root = Drive::new(Arc::clone(&spec.disk) as Arc<dyn BlockBackend>);
        root.serial = ROOT_SERIAL.to_owned();
        let mut config = VmConfig::new(spec.kernel.kernel());
        config.initrd = Some(spec.initramfs);
        config.command_line = format!("{RECOMMENDED_COMMAND_LINE} {NO_GETTY}");
        config.vcpus = spec.vcpus;
        config.memory_mib = spec.memory_mib;
        let further = spec.drives.into_iter().map(Drive::from);
        config.drives = std::iter::once(root).chain(further).collect();
        config.vsock_cid = Some(CID);
        config.console = Box::new(console.clone());
        let vm = Vm::start(config)?;
        let start = begun.elapsed();
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
        let Greeted { vsock, control, .. } = greeted;
        Ok((
            Self {
                vm,
                vsock,
                control,
                console,
                disk: spec.disk,
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

    /// Where commands connect to.
    pub(crate) fn vsock(&self) -> VsockHost {
        self.vsock.clone()
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
            let mut control = Timed::new(&self.control, deadline);
            if let Err(error) = control::power_off(&mut control, grace) {
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
            clean: self.has_clean_root(),
        }
    }

    /// Whether the root's file system says that it is. How the VM ended would not tell: a guest can power itself off
    /// without unmounting anything.
    fn has_clean_root(&self) -> bool {
        let mut superblock = [0; superblock::BYTES];
        let mut target = ReadTarget::from_slice(&mut superblock);
        let read = self.disk.read_at(&mut target, superblock::OFFSET);
        read.is_ok() && superblock::is_clean(&superblock)
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
        control::configure(&mut timed, config)?;
        let ready = self.begun.elapsed();
        Ok(Greeted {
            vsock,
            control,
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
                let how = describe(&exit, self.console);
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

fn describe(exit: &Exit, console: &Console) -> String {
    match exit {
        Exit::PowerOff => "it powered itself off".to_owned(),
        Exit::Reboot => match console.panic_line() {
            Some(line) => format!("its kernel panicked: {line}"),
            None => "it rebooted, which ends it".to_owned(),
        },
        Exit::Stopped => "it was stopped".to_owned(),
        Exit::Failed(error) => one_line(&**error),
    }
}
