//! A VM's machine without KVM: memory, ports, registers and devices on their threads, but no guest. For tests and
//! fuzz targets, which play that.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Instant;

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::devices::{Device, Source, devices, start_device};
use super::{Exit, Outcome, restore};
use crate::balloon::SharedBalloon;
use crate::calls::SlowCalls;
use crate::config::VmConfig;
use crate::event::Events;
use crate::machine::{
    BootTime, Machine, MarksState, SerialPort, SerialState, Watchdog, WatchdogState,
};
use crate::memory::Memory;
use crate::seccomp::{Filters, Seccomp};
use crate::state::{DeviceState, StateError};
use crate::virtio::{CheckedRegisters, PausedWorker};
use crate::vsock::{Shared, VsockHost};

/// What is there of a VM without KVM.
pub(crate) struct BareVm {
    pub(crate) machine: Machine,
    pub(crate) memory: Memory,
    pub(crate) balloon: Option<SharedBalloon>,
    outcome: Arc<Outcome>,
    vsock: Option<Arc<Shared>>,
    serial: Arc<SerialPort>,
    sources: Vec<Source>,
    threads: Vec<JoinHandle<()>>,
}

/// The state of a VM without KVM.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BareState {
    pub(crate) devices: Vec<DeviceState>,
    pub(crate) serial: SerialState,
    pub(crate) watchdog: Option<WatchdogState>,
    pub(crate) marks: MarksState,
}

impl BareState {
    fn check(&self, devices: &[Device]) -> Result<Vec<CheckedRegisters>, StateError> {
        let watchdog = self.watchdog.as_ref();
        restore::check_devices(&self.serial, watchdog, &self.devices, devices)
    }
}

impl BareVm {
    /// The machine of `config`, which finds its devices in the order of their register windows, with other memory.
    ///
    /// # Panics
    /// If the configuration is wrong, or the host has no descriptors or threads.
    pub(crate) fn start(config: VmConfig, memory: Memory) -> Self {
        let started = Self::build(config, memory, |_| Ok(()), SerialPort::new);
        started.expect("nothing is taken over").0
    }

    /// The same, which goes on from `saved`; it is `now`.
    pub(crate) fn restore(
        config: VmConfig,
        memory: Memory,
        saved: &BareState,
        now: Instant,
    ) -> Result<Self, StateError> {
        let serial = |console, line| {
            SerialPort::restored(console, line, &saved.serial).expect("the host has descriptors")
        };
        let check = |devices: &[Device]| saved.check(devices);
        let (vm, checked) = Self::build(config, memory, check, serial)?;
        vm.machine.take_over(&saved.marks, None);
        if let (Some(watchdog), Some(saved)) = (vm.machine.watchdog(), &saved.watchdog) {
            watchdog.take_over(saved, now);
        }
        let transports = vm.machine.transports();
        restore::take_over_devices(&saved.devices, &vm.sources, transports, checked);
        Ok(vm)
    }

    /// What it has become; it is `now`.
    pub(crate) fn save(&self, now: Instant) -> BareState {
        self.state(&self.stand_still(), now)
    }

    /// Ends it; what it has become, and its memory, are all that is left for another one to go on from. It is `now`.
    pub(crate) fn suspend(self, now: Instant) -> (BareState, Memory) {
        let paused = self.stand_still();
        let state = self.state(&paused, now);
        // Its threads find that they are to end when they may go on, and do nothing before.
        self.stop();
        drop(paused);
        (state, self.memory.clone())
    }

    fn stand_still(&self) -> Vec<PausedWorker> {
        let transports = self.machine.transports().iter();
        let pausing: Vec<_> = transports.map(|t| t.worker().pause()).collect();
        let paused = pausing.into_iter().map(|worker| worker.wait(|| false));
        paused.collect::<Option<_>>().expect("nobody ends the wait")
    }

    fn state(&self, paused: &[PausedWorker], now: Instant) -> BareState {
        let transports = self.machine.transports().iter();
        let devices = transports.zip(paused).zip(&self.sources);
        BareState {
            devices: devices
                .map(|((transport, worker), source)| DeviceState {
                    transport: transport.save(worker),
                    kind: source.save(),
                })
                .collect(),
            serial: self.serial.save(),
            watchdog: self.machine.watchdog().map(|watchdog| watchdog.save(now)),
            marks: self.machine.save_marks(),
        }
    }

    fn stop(&self) {
        for transport in self.machine.transports() {
            transport.worker().stop();
        }
    }

    /// The machine whose devices pass `check`, with its answer.
    fn build<T>(
        mut config: VmConfig,
        memory: Memory,
        check: impl FnOnce(&[Device]) -> Result<T, StateError>,
        serial: impl FnOnce(Box<dyn Write + Send>, Arc<EventFd>) -> Arc<SerialPort>,
    ) -> Result<(Self, T), StateError> {
        config.check().expect("the configuration is sound");
        let event = || EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).expect("the host has descriptors");
        let vsock = config
            .vsock_cid
            .map(|cid| Shared::new(cid).expect("the host has descriptors"));
        let balloon = config.balloon.then(SharedBalloon::default);
        let events = Events::new(config.on_event.take());
        let stopping = Arc::new(AtomicBool::new(false));
        let found = devices(
            &mut config,
            &stopping,
            vsock.as_ref(),
            balloon.as_ref(),
            &events,
            &mut SlowCalls::new(|| { /* Nobody looks. */ }),
        )
        .expect("the host has descriptors");
        let checked = check(&found)?;
        let sources = found.iter().map(|device| device.source().clone()).collect();
        let outcome = Arc::new(Outcome::default());
        // Sanitizers call what devices don't.
        let filters = Filters::new(Seccomp::Off);
        let mut threads = Vec::new();
        let transports = found.into_iter().map(|device| {
            let started = start_device(&memory, &outcome, device, &filters, &mut threads);
            let (transport, threads) = started.expect("the host has descriptors");
            threads.expect("the host has threads");
            transport
        });
        let transports = transports.collect();
        let watchdog = config
            .watchdog
            .then(|| Watchdog::new(Box::new(|| { /* Nobody waits for it. */ })));
        let serial = serial(config.console, Arc::new(event()));
        let boot_time = BootTime::default();
        let vm = Self {
            machine: Machine::new(
                Arc::clone(&serial),
                transports,
                watchdog,
                Instant::now(),
                boot_time,
                events,
            ),
            memory,
            balloon,
            outcome,
            vsock,
            serial,
            sources,
            threads,
        };
        Ok((vm, checked))
    }

    /// The host's side of the vsock device, if there is one.
    pub(crate) fn vsock(&self) -> Option<VsockHost> {
        self.vsock.as_ref().map(|s| VsockHost::new(Arc::clone(s)))
    }

    /// Why the run has ended: something that a device did, as nothing else ends it.
    pub(crate) fn failure(&self) -> Option<Exit> {
        self.outcome.reason()
    }

    /// Keeps the threads of the device at this place from doing anything until the answer is dropped.
    pub(crate) fn pause(&self, device: usize) -> Option<PausedWorker> {
        let transport = self.machine.transports().get(device)?;
        transport.worker().pause().wait(|| false)
    }
}

impl Drop for BareVm {
    fn drop(&mut self) {
        self.stop();
        for thread in self.threads.drain(..) {
            let _panic_is_reported = thread.join();
        }
        if let Some(vsock) = &self.vsock {
            vsock.close();
        }
    }
}

#[cfg(test)]
mod tests;
