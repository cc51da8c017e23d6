//! What a VM tells its owner while it runs.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::error::RunError;

/// Something that happened to a VM, for [`VmConfig::on_event`](crate::VmConfig::on_event).
///
/// A guest can't flood its owner: it makes each of these happen once at most, but for
/// [`Crashed`](Self::Crashed), once for each kind, [`IoError`](Self::IoError), at most once a second for
/// each drive, [`NetworkLost`](Self::NetworkLost), once for each network device,
/// [`BackendSlow`](Self::BackendSlow), once in 5 seconds for each thread, and
/// [`StopDelayed`](Self::StopDelayed), once for each thread.
///
/// Every run that ends by itself tells how, last of all: by [`PowerOffAsked`](Self::PowerOffAsked),
/// [`RebootAsked`](Self::RebootAsked), [`TripleFault`](Self::TripleFault),
/// [`WatchdogExpired`](Self::WatchdogExpired) or [`Failed`](Self::Failed). Only
/// [`StopDelayed`](Self::StopDelayed), and what other processors and devices meet at that moment, may come after it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The guest says that it has booted, by a write to [`BOOT_MARK_PORT`](crate::BOOT_MARK_PORT).
    Booted {
        /// Time since [`Vm::start`](crate::Vm::start) was called.
        after: Duration,
    },
    /// The guest switched itself off; the run ends as [`Exit::PowerOff`](crate::Exit::PowerOff).
    PowerOffAsked,
    /// The guest reset itself by a port; the run ends as [`Exit::Reboot`](crate::Exit::Reboot).
    RebootAsked,
    /// The guest met a fault while it handled one that it met while it handled another, which resets the machine;
    /// the run ends as [`Exit::Reboot`](crate::Exit::Reboot). Mostly its kernel has lost its way; some make one on
    /// purpose to reboot (on Linux, `reboot=t`).
    TripleFault {
        /// The processor on which it happened, counted from 0.
        vcpu: u8,
    },
    /// The guest did not kick the watchdog that it had started; the run ends as
    /// [`Exit::Reboot`](crate::Exit::Reboot). Its vCPUs have stopped when this is told.
    WatchdogExpired,
    /// The VM could not go on; the run ends as [`Exit::Failed`](crate::Exit::Failed). Its vCPUs have stopped when
    /// this is told.
    Failed {
        /// Why.
        error: Arc<RunError>,
    },
    /// The guest's kernel says that it crashed (Linux with the module `pvpanic-mmio`). What happened is
    /// among the last lines on the console. The run goes on until the guest ends it.
    Crashed {
        /// What the guest does about it.
        kind: CrashKind,
    },
    /// A backend failed a request of the guest's, which was told of an I/O error.
    IoError {
        /// Which of [`VmConfig::drives`](crate::VmConfig::drives), counted from 0.
        drive: usize,
        /// What the backend was asked for.
        operation: DiskOperation,
        /// Its answer.
        error: Arc<io::Error>,
        /// Errors of this drive since the last such event that had none of their own.
        unreported: u64,
    },
    /// A network backend said that its network is gone. The guest sees the link go down, and frames are dropped, until
    /// it sets the device up anew; if the network is lost again then, that is not told.
    NetworkLost {
        /// Which of [`VmConfig::nets`](crate::VmConfig::nets), counted from 0.
        net: usize,
        /// What the backend answered.
        error: Arc<io::Error>,
    },
    /// A call to a backend has not returned for 5 seconds. Whatever the guest wants of that disk or network waits
    /// meanwhile, and so do pauses of the VM. Told once for each call, while the run is not over.
    BackendSlow {
        /// Whose call.
        backend: Backend,
        /// The thread that waits for the call: `vm-block0`, or `vm-block0q1` and so on for further queues, for the
        /// backend of the first drive, `vm-net0` for that of the first network device.
        thread: String,
        /// For how long it has waited, up to a second more or less.
        elapsed: Duration,
    },
    /// The run is over, but can't end: a call to the embedder's code has not returned for 2 seconds. Told once for
    /// each thread; the wait goes on.
    StopDelayed {
        /// The thread that waits for the call: a device's, as for [`BackendSlow`](Self::BackendSlow), or `vm-vcpu0` and
        /// so on for the console or `on_event`. A vCPU may also wait for a device that is told of as well.
        /// `copy_memory` is whichever thread is in [`Vm::copy_memory`](crate::Vm::copy_memory), whose writer does not
        /// return.
        thread: String,
    },
}

/// How long a call to a backend may take before its owner hears of it.
pub(crate) const CALL_PATIENCE: Duration = Duration::from_secs(5);
/// How long the end of a run waits before it says for whom.
pub(crate) const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// What a VM calls for the requests of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// Of one of [`VmConfig::drives`](crate::VmConfig::drives), counted from 0.
    Drive(usize),
    /// Of one of [`VmConfig::nets`](crate::VmConfig::nets), counted from 0.
    Net(usize),
}

/// How a guest's kernel crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CrashKind {
    /// It panicked. With `panic=-1` on its command line, it resets the machine next.
    Panicked,
    /// It panicked, and starts a second kernel that was loaded for this case (kdump).
    CrashKernelStarts,
}

/// What a backend is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiskOperation {
    /// [`BlockBackend::read_at`](crate::BlockBackend::read_at).
    Read,
    /// [`BlockBackend::write_at`](crate::BlockBackend::write_at).
    Write,
    /// [`BlockBackend::flush`](crate::BlockBackend::flush).
    Flush,
    /// [`BlockBackend::discard`](crate::BlockBackend::discard).
    Discard,
    /// [`BlockBackend::write_zeroes`](crate::BlockBackend::write_zeroes) or
    /// [`unmap_to_zeroes`](crate::BlockBackend::unmap_to_zeroes).
    WriteZeroes,
}

/// Who wants to hear of events.
pub(crate) type Listener = dyn Fn(Event) + Send + Sync;

/// The way to the owner of a VM, if it wants to hear. Clones lead to the same one.
#[derive(Clone, Default)]
pub(crate) struct Events(Option<Arc<Listener>>);

impl Events {
    pub(crate) fn new(listener: Option<Box<Listener>>) -> Self {
        Self(listener.map(Arc::from))
    }

    /// Calls the owner's function on this thread.
    pub(crate) fn tell(&self, event: Event) {
        if let Some(listener) = &self.0 {
            listener(event);
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Events").field(&self.0.is_some()).finish()
    }
}
