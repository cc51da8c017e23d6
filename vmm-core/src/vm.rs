//! A VM's life: start, run, one reason to end, and the taking apart.

#[cfg(any(test, feature = "fuzzing"))]
mod bare;
mod build;
mod control;
mod devices;
mod irqchip;
mod kvm;
mod laggards;
mod outcome;
mod restore;
mod save;
mod supervise;

#[cfg(feature = "fuzzing")]
pub(crate) use bare::BareState;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use bare::BareVm;

use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::control::Control;
pub use self::irqchip::{InterruptControllersState, IoApicState, PicState};
use self::outcome::Outcome;
use self::restore::Restore;
use crate::balloon::SharedBalloon;
use crate::config::VmConfig;
use crate::error::{BalloonError, RunError, StartError};
use crate::machine::{BootTime, ConsoleInput, PowerButton, SerialPort};
use crate::metrics::{Meter, Metrics};
use crate::state::{SaveError, VmState};
use crate::vsock::{Shared, VsockHost};

/// Why a run ended.
#[derive(Clone, Debug)]
pub enum Exit {
    /// The guest switched itself off.
    PowerOff,
    /// The guest was reset: it rebooted, panicked with `panic=-1`, or made a triple fault, or its watchdog
    /// expired ([`Event::TripleFault`](crate::Event::TripleFault) and
    /// [`Event::WatchdogExpired`](crate::Event::WatchdogExpired) tell these apart). The VM does not start
    /// again by itself.
    Reboot,
    /// [`Vm::stop`] was called, or the VM was dropped.
    Stopped,
    /// The VM could not go on.
    Failed(Arc<RunError>),
}

/// What can be seen of and done to a run without owning its [`Vm`]. Clones are for the same run; they outlive it without
/// harm.
#[derive(Clone, Debug)]
pub struct VmHandle {
    outcome: Arc<Outcome>,
    control: Arc<Control>,
    meter: Arc<Meter>,
}

impl VmHandle {
    /// Does what [`Vm::stop`] does.
    pub fn stop(&self) {
        let _may_have_ended = self.outcome.end(Exit::Stopped);
    }

    /// Does what [`Vm::pause`] does.
    pub fn pause(&self) {
        self.control.pause();
    }

    /// Does what [`Vm::resume`] does.
    pub fn resume(&self) {
        self.control.resume();
    }

    /// Does what [`Vm::metrics`] does.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.meter.read()
    }

    /// Does what [`Vm::wait_timeout`] does.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Exit> {
        // A time that the clock can't express is as good as never.
        self.outcome
            .wait_for_finish(Instant::now().checked_add(timeout))
    }
}

/// A running VM.
///
/// Dropping it stops the guest, as [`stop`](Self::stop) does, and waits until all of the VM's threads have ended.
pub struct Vm {
    outcome: Arc<Outcome>,
    control: Arc<Control>,
    serial: Arc<SerialPort>,
    power_button: Arc<PowerButton>,
    boot_time: BootTime,
    /// With the memory of the VM, in MiB.
    balloon: Option<(SharedBalloon, u32)>,
    vsock: Option<Arc<Shared>>,
    meter: Arc<Meter>,
    supervisor: Option<JoinHandle<()>>,
}

impl Vm {
    /// Builds a VM and starts it. It takes as long as copying the initrd into memory, and, for a kernel that
    /// was not opened before, reading, unpacking and copying that; the guest boots in the background.
    ///
    /// # Errors
    /// [`StartError`] if the configuration, the kernel or the host won't do. Nothing is left behind.
    pub fn start(config: VmConfig) -> Result<Self, StartError> {
        build::start(config, None)
    }

    /// Builds a VM that goes on from where another one was when its [`state`](Self::state) and
    /// [memory](Self::copy_memory) were taken. It takes as long as reading the memory.
    ///
    /// `config` is the one that the other VM was started with, but for what is no part of the machine: where
    /// the console prints, who is told of events, and backends, which may be others with the same contents.
    /// Nothing is booted, so kernel, initrd and command line are not looked at.
    ///
    /// The guest does not see that time has passed: KVM's clock and the TSC go on from where they were. What
    /// depended on the world outside is over: vsock connections are reset, and whatever a network's peers
    /// made of the silence. Two VMs from one state have the same random numbers in store; have the guest stir
    /// its own, which the entropy device helps with.
    ///
    /// # Errors
    /// [`StartError`] as for [`start`](Self::start), and [`StartError::State`] if the state is damaged, of
    /// another machine, or of a processor that this host can't be. Nothing is left behind, and no device has
    /// done anything.
    pub fn restore(
        config: VmConfig,
        state: &VmState,
        memory: &mut dyn Read,
    ) -> Result<Self, StartError> {
        build::start(config, Some(Restore { state, memory }))
    }

    /// The state of the VM, which must be [paused](Self::pause): all but its memory and the contents of its
    /// disks.
    ///
    /// Requests that a device has taken are finished; those that it has not stay in the guest's memory, and
    /// are served when the guest goes on, here or elsewhere. Whoever wants both to fit the disks copies these
    /// in the same pause.
    ///
    /// # Errors
    /// [`SaveError`]; the VM is as it was.
    pub fn state(&self) -> Result<VmState, SaveError> {
        save::state(&self.control)
    }

    /// Writes all of the guest's memory to `target`, lowest address first and without the hole below 4 GiB.
    /// The VM must be [paused](Self::pause), and stays so meanwhile: calls that would change that, or take the
    /// state, wait until the copy is made, so `target` must make none of them, nor wait for the end of the run.
    /// If the run is ended, the copy ends after the write that is under way.
    ///
    /// # Errors
    /// [`SaveError`]; the VM is as it was, and `target` may have a part of the memory.
    pub fn copy_memory(&self, target: &mut dyn Write) -> Result<(), SaveError> {
        save::copy_memory(&self.control, target)
    }

    /// A handle to watch and stop the run with from elsewhere.
    #[must_use]
    pub fn handle(&self) -> VmHandle {
        VmHandle {
            outcome: Arc::clone(&self.outcome),
            control: Arc::clone(&self.control),
            meter: Arc::clone(&self.meter),
        }
    }

    /// The host's side of the vsock device, if the VM has one.
    #[must_use]
    pub fn vsock(&self) -> Option<VsockHost> {
        self.vsock.as_ref().map(|s| VsockHost::new(Arc::clone(s)))
    }

    /// The keyboard of the guest's serial port.
    #[must_use]
    pub fn console_input(&self) -> ConsoleInput {
        ConsoleInput::new(Arc::clone(&self.serial))
    }

    /// What the VM has done so far; after its end, altogether. Costs the guest nothing, and some microseconds
    /// here for each vCPU and device.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.meter.read()
    }

    /// Presses the guest's power button, which asks it to shut down: systemd does, and so does whatever
    /// else reads the button's key (Linux needs the module `button`). A press before the guest listens, or
    /// after the end of the run, is lost. Nothing says whether the guest will obey: wait for its end, and
    /// [`stop`](Self::stop) it if that does not come.
    pub fn press_power_button(&self) {
        self.power_button.press();
    }

    /// How long the guest took, from the call of [`start`](Self::start) on, until it said that it has
    /// booted by a write to [`BOOT_MARK_PORT`](crate::BOOT_MARK_PORT); `None` if it has not said so.
    #[must_use]
    pub fn boot_time(&self) -> Option<Duration> {
        self.boot_time.get()
    }

    /// Asks the guest to leave `mib` MiB of its memory to the host, altogether; 0 gives everything back.
    /// The guest does it when its driver is there, as far as it can, and takes memory back when it would
    /// run out: [`balloon_mib`](Self::balloon_mib) tells how far it is.
    ///
    /// # Errors
    /// [`BalloonError`] if the VM has no balloon, or less memory; nothing has changed then.
    pub fn set_balloon_mib(&self, mib: u32) -> Result<(), BalloonError> {
        let (balloon, memory_mib) = self.balloon.as_ref().ok_or(BalloonError::NoBalloon)?;
        if mib > *memory_mib {
            return Err(BalloonError::TooLarge {
                asked_mib: mib,
                memory_mib: *memory_mib,
            });
        }
        balloon.ask_for(mib);
        Ok(())
    }

    /// How many MiB of its memory the guest says it leaves to the host for
    /// [`set_balloon_mib`](Self::set_balloon_mib); `None` if the VM has no balloon. A guest may lie.
    #[must_use]
    pub fn balloon_mib(&self) -> Option<u32> {
        let (balloon, memory_mib) = self.balloon.as_ref()?;
        Some(balloon.given_mib().min(*memory_mib))
    }

    /// Makes the guest stand still until [`resume`](Self::resume). When it returns, no vCPU runs and no
    /// device touches guest memory; or the run is ending, which any thread may bring about meanwhile. It
    /// waits for calls to backends, the console and `on_event` that are under way, and takes some
    /// milliseconds otherwise. Does nothing if the VM is paused, or has ended. Any thread may call it, but
    /// none of this VM's callbacks (backends, console, `on_event`): these it would wait for.
    ///
    /// The guest's KVM clock stands still, and its watchdog with it, so that timers and soft-lockup detection of
    /// guests that go by it notice nothing; their time of day is then late by the time that they were paused. The
    /// processor's TSC goes on: guests that go by that see the time pass all at once.
    pub fn pause(&self) {
        self.control.pause();
    }

    /// Lets a paused guest go on. Does nothing if the VM is not paused, or has ended. As for [`pause`](Self::pause),
    /// not for this VM's callbacks.
    pub fn resume(&self) {
        self.control.resume();
    }

    /// Ends the run by force, as if the power was cut: what the guest has not flushed may be lost. Returns at
    /// once; [`wait`](Self::wait) returns when it is done. Does nothing if the run has ended. Any thread may
    /// call it, any number of times.
    ///
    /// It is done within milliseconds, but for calls to the embedder's code that are under way (backends, the console,
    /// `on_event`, the writer of [`copy_memory`](Self::copy_memory)): no thread can be ended from without, so the end
    /// waits for them. What takes longer than 2 seconds is told by [`Event::StopDelayed`](crate::Event::StopDelayed);
    /// [`wait_timeout`](Self::wait_timeout) limits the wait.
    pub fn stop(&self) {
        let _may_have_ended = self.outcome.end(Exit::Stopped);
    }

    /// Waits for the end of the run. When it returns, no vCPU runs, no backend is called any more, the
    /// console is flushed, and all vsock streams have ended. All callers get the same answer.
    #[must_use]
    pub fn wait(&self) -> Exit {
        self.outcome
            .wait_for_finish(None)
            .expect("without a deadline, the wait ends with a reason")
    }

    /// Does what [`wait`](Self::wait) does, but gives up after `timeout` with `None`.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Exit> {
        self.handle().wait_timeout(timeout)
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.stop();
        if let Some(supervisor) = self.supervisor.take()
            && supervisor.join().is_err()
        {
            tracing::error!("a VM's supervisor panicked");
        }
    }
}

impl fmt::Debug for Vm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vm")
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}
