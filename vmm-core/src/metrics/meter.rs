//! All counters of a VM, which outlive it.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::{CpuTime, DeviceMetrics, KvmMetrics, KvmStats, Metrics, VcpuMetrics};
use crate::block::DiskCounters;
use crate::vcpu::ExitCounters;
use crate::virtio::{InterruptCounters, QueueCounters};

/// What counts for one VM.
#[derive(Debug)]
pub(crate) struct Meter {
    started: Instant,
    lived: OnceLock<Duration>,
    vcpus: Vec<VcpuMeter>,
    devices: Vec<DeviceMeter>,
}

/// What counts for one vCPU.
#[derive(Debug)]
pub(crate) struct VcpuMeter {
    pub(crate) exits: Arc<ExitCounters>,
    pub(crate) cpu_time: Arc<CpuTime>,
    kvm: Mutex<KvmSide>,
}

/// What counts for one device.
#[derive(Debug)]
pub(crate) struct DeviceMeter {
    pub(crate) name: String,
    pub(crate) queues: Vec<Arc<QueueCounters>>,
    pub(crate) interrupts: Arc<InterruptCounters>,
    pub(crate) disk: Option<Arc<DiskCounters>>,
}

#[derive(Debug)]
enum KvmSide {
    Open(Option<KvmStats>),
    Ended(Option<KvmMetrics>),
}

impl VcpuMeter {
    pub(crate) fn new(kvm: Option<KvmStats>) -> Self {
        Self {
            exits: Arc::default(),
            cpu_time: Arc::default(),
            kvm: Mutex::new(KvmSide::Open(kvm)),
        }
    }

    fn read(&self) -> VcpuMetrics {
        VcpuMetrics {
            cpu_time: self.cpu_time.read(),
            kvm: self.kvm().read(),
            ..self.exits.read()
        }
    }

    fn kvm(&self) -> MutexGuard<'_, KvmSide> {
        self.kvm.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KvmSide {
    fn read(&self) -> Option<KvmMetrics> {
        match self {
            Self::Open(stats) => stats.as_ref()?.read(),
            Self::Ended(last) => *last,
        }
    }
}

impl DeviceMeter {
    fn read(&self) -> DeviceMetrics {
        let (interrupts, resets_needed) = self.interrupts.read();
        DeviceMetrics {
            name: self.name.clone(),
            queues: self.queues.iter().map(|queue| queue.read()).collect(),
            interrupts,
            resets_needed,
            disk: self.disk.as_ref().map(|disk| disk.read()),
        }
    }
}

impl Meter {
    /// The meter of a VM that was started at `started`.
    pub(crate) fn new(started: Instant, vcpus: Vec<VcpuMeter>, devices: Vec<DeviceMeter>) -> Self {
        Self {
            started,
            lived: OnceLock::new(),
            vcpus,
            devices,
        }
    }

    pub(crate) fn vcpus(&self) -> &[VcpuMeter] {
        &self.vcpus
    }

    pub(crate) fn read(&self) -> Metrics {
        Metrics {
            age: *self.lived.get().unwrap_or(&self.started.elapsed()),
            vcpus: self.vcpus.iter().map(VcpuMeter::read).collect(),
            devices: self.devices.iter().map(DeviceMeter::read).collect(),
        }
    }

    /// The vCPUs have ended: keeps KVM's last figures, and closes its files.
    pub(crate) fn finish(&self) {
        let _first_counts = self.lived.set(self.started.elapsed());
        for vcpu in &self.vcpus {
            let mut kvm = vcpu.kvm();
            *kvm = KvmSide::Ended(kvm.read());
        }
    }
}
