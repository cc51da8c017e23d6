//! Pausing a VM, and letting it go on.
//!
//! | state   | `pause`  | `resume`  | `stop`, or the guest's end |
//! |---------|----------|-----------|----------------------------|
//! | running | → paused | nothing   | → ended                    |
//! | paused  | nothing  | → running | → ended                    |
//! | ended   | nothing  | nothing   | nothing                    |
//!
//! Invariant: while a VM is paused, none of its vCPUs is in guest mode and none of its devices touches
//! guest memory. vCPUs stop first, since one of them may wait for a device, and go on last.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kvm_bindings::kvm_clock_data;
use kvm_ioctls::VmFd;

use super::devices::Source;
use crate::machine::{Machine, SerialPort};
use crate::memory::Memory;
use crate::state::SaveError;
use crate::thread::kick;
use crate::vcpu::{Gate, SharedVcpu};
use crate::virtio::PausedWorker;

/// How long to wait before a vCPU that is still in guest mode is kicked again.
pub(super) const KICK_INTERVAL: Duration = Duration::from_millis(1);

/// What the embedder's handles share with the supervisor.
pub(super) struct Control {
    /// Set when the run is over.
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) gate: Arc<Gate>,
    /// `None` once the run is over. Whoever pauses holds the lock until it is done.
    running: Mutex<Option<Running>>,
}

/// What is there while the VM runs.
pub(super) struct Running {
    pub(super) machine: Arc<Machine>,
    pub(super) serial: Arc<SerialPort>,
    pub(super) memory: Memory,
    /// The model-specific registers that vCPUs of this host have, if KVM could tell.
    pub(super) msr_indices: Result<Vec<u32>, kvm_ioctls::Error>,
    /// What devices consist of besides their transports, in the same order.
    pub(super) sources: Vec<Source>,
    pub(super) vm: VmFd,
    pub(super) vcpus: Vec<Vcpu>,
    pub(super) paused: Option<Paused>,
}

/// A vCPU and the thread that runs it.
pub(super) struct Vcpu {
    pub(super) thread: JoinHandle<()>,
    pub(super) shared: SharedVcpu,
}

/// What it takes to go on.
pub(super) struct Paused {
    pub(super) workers: Vec<PausedWorker>,
    pub(super) clock: Option<kvm_clock_data>,
}

impl Control {
    pub(super) fn new(stopping: Arc<AtomicBool>, running: Running) -> Arc<Self> {
        Arc::new(Self {
            stopping,
            gate: Arc::default(),
            running: Mutex::new(Some(running)),
        })
    }

    /// Lets `look` see the VM while it is paused, which it stays meanwhile.
    pub(super) fn while_paused<T>(
        &self,
        look: impl FnOnce(&Running, &Paused) -> Result<T, SaveError>,
    ) -> Result<T, SaveError> {
        let guard = self.lock();
        let running = guard.as_ref().ok_or(SaveError::NotPaused)?;
        let paused = running.paused.as_ref().ok_or(SaveError::NotPaused)?;
        look(running, paused)
    }

    /// Takes note of a vCPU and its thread.
    pub(super) fn add(&self, vcpu: Vcpu) {
        if let Some(running) = self.lock().as_mut() {
            running.vcpus.push(vcpu);
        }
    }

    pub(super) fn pause(&self) {
        let mut guard = self.lock();
        let Some(running) = guard.as_mut().filter(|running| running.paused.is_none()) else {
            return;
        };
        // Before anything stands still: a guest that can't serve its watchdog must not be reset for that.
        if let Some(watchdog) = running.machine.watchdog() {
            watchdog.pause(Instant::now());
        }
        self.gate.close();
        running.paused = self.stand_still(running);
        if running.paused.is_none() {
            self.go_on(running);
        }
    }

    /// Waits until vCPUs and devices do nothing; `None` if the run ends instead.
    fn stand_still(&self, running: &Running) -> Option<Paused> {
        if !self.wait_for_vcpus(&running.vcpus) {
            return None;
        }
        let clock = running.vm.get_clock();
        if let Err(error) = &clock {
            tracing::debug!(%error, "a paused guest's clock goes on");
        }
        let transports = running.machine.transports();
        let pausing: Vec<_> = transports.iter().map(|t| t.worker().pause()).collect();
        let is_over = || self.stopping.load(Ordering::SeqCst);
        let workers = pausing.into_iter().map(|worker| worker.wait(is_over));
        Some(Paused {
            workers: workers.collect::<Option<_>>()?,
            clock: clock.ok(),
        })
    }

    /// Lets watchdog and vCPUs go on.
    fn go_on(&self, running: &Running) {
        if let Some(watchdog) = running.machine.watchdog() {
            watchdog.resume(Instant::now());
        }
        self.gate.open();
    }

    pub(super) fn resume(&self) {
        let mut guard = self.lock();
        let Some((running, paused)) = guard.as_mut().and_then(|running| {
            let paused = running.paused.take()?;
            Some((running, paused))
        }) else {
            return;
        };
        if let Some(clock) = paused.clock {
            // Without the flags, which would have KVM add the time that has passed.
            let clock = kvm_clock_data {
                clock: clock.clock,
                ..Default::default()
            };
            if let Err(error) = running.vm.set_clock(&clock) {
                tracing::debug!(%error, "a guest's clock could not be set back after a pause");
            }
        }
        drop(paused.workers);
        self.go_on(running);
    }

    /// The run is over: frees what is paused, and hands over what is to be taken apart; `None` if that was
    /// done. Calls `wait` as long as somebody copies memory.
    pub(super) fn end(&self, mut wait: impl FnMut()) -> Option<Running> {
        self.stopping.store(true, Ordering::SeqCst);
        let mut guard = loop {
            match self.running.try_lock() {
                Ok(guard) => break guard,
                Err(TryLockError::Poisoned(error)) => break error.into_inner(),
                Err(TryLockError::WouldBlock) => wait(),
            }
        };
        // Now nobody is pausing, and nobody will be.
        self.gate.open();
        let mut running = guard.take()?;
        running.paused = None;
        Some(running)
    }

    /// Waits until no vCPU is in guest mode; `false` if the run ends instead.
    fn wait_for_vcpus(&self, vcpus: &[Vcpu]) -> bool {
        while !self.stopping.load(Ordering::SeqCst) {
            let threads = || vcpus.iter().map(|vcpu| &vcpu.thread);
            let alive = || threads().filter(|thread| !thread.is_finished());
            let count = alive().count();
            if self.gate.waiting(0, Duration::ZERO) >= count {
                return true;
            }
            alive().for_each(kick);
            self.gate.waiting(count, KICK_INTERVAL);
        }
        false
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("stopping", &self.stopping)
            .field("gate", &self.gate)
            .finish_non_exhaustive()
    }
}
