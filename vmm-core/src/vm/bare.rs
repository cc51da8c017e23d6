//! A VM's machine without KVM: memory, ports, registers and devices on their threads, but no guest. For tests and
//! fuzz targets, which play that.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Instant;

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::devices::{devices, start_device};
use super::{Exit, Outcome};
use crate::balloon::SharedBalloon;
use crate::config::VmConfig;
use crate::event::Events;
use crate::machine::{BootTime, Machine, SerialPort, Watchdog};
use crate::memory::Memory;
use crate::seccomp::{Filters, Seccomp};
use crate::vsock::{Shared, VsockHost};

/// What is there of a VM without KVM.
pub(crate) struct BareVm {
    pub(crate) machine: Machine,
    pub(crate) memory: Memory,
    pub(crate) balloon: Option<SharedBalloon>,
    outcome: Arc<Outcome>,
    vsock: Option<Arc<Shared>>,
    threads: Vec<JoinHandle<()>>,
}

impl BareVm {
    /// The machine of `config`, which finds its devices in the order of their register windows, with other memory.
    ///
    /// # Panics
    /// If the configuration is wrong, or the host has no descriptors or threads.
    pub(crate) fn start(mut config: VmConfig, memory: Memory) -> Self {
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
        );
        let outcome = Arc::new(Outcome::default());
        // Sanitizers call what devices don't.
        let filters = Filters::new(Seccomp::Off);
        let mut threads = Vec::new();
        let transports = found
            .expect("the host has descriptors")
            .into_iter()
            .map(|device| {
                let started = start_device(&memory, &outcome, device, &filters, &mut threads);
                let (transport, threads) = started.expect("the host has descriptors");
                threads.expect("the host has threads");
                transport
            });
        let transports = transports.collect();
        let watchdog = config
            .watchdog
            .then(|| Watchdog::new(Box::new(|| { /* Nobody waits for it. */ })));
        let serial = SerialPort::new(config.console, Arc::new(event()));
        let boot_time = BootTime::default();
        Self {
            machine: Machine::new(
                serial,
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
            threads,
        }
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
    pub(crate) fn pause(&self, device: usize) -> Option<crate::virtio::PausedWorker> {
        let transport = self.machine.transports().get(device)?;
        transport.worker().pause().wait(|| false)
    }
}

impl Drop for BareVm {
    fn drop(&mut self) {
        for transport in self.machine.transports() {
            transport.worker().stop();
        }
        for thread in self.threads.drain(..) {
            let _panic_is_reported = thread.join();
        }
        if let Some(vsock) = &self.vsock {
            vsock.close();
        }
    }
}
