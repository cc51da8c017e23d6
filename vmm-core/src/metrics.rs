//! What a VM has done so far, in numbers.
//!
//! Counters are plain additions on the threads that do the work, without locks; whoever asks adds up.

mod counter;
mod cpu_time;
mod kvm_stats;
mod meter;

pub(crate) use counter::Counter;
pub(crate) use cpu_time::CpuTime;
pub(crate) use kvm_stats::KvmStats;
pub(crate) use meter::{DeviceMeter, Meter, VcpuMeter};

use std::time::Duration;

/// What a VM has done since it started, from [`Vm::metrics`](crate::Vm::metrics). Figures only grow. Those
/// that belong together may be apart by what happens while they are read.
///
/// | figures | of | counted by |
/// |---|---|---|
/// | exits to this process, by kind | each vCPU | its thread |
/// | processor time | each vCPU | Linux, of its thread |
/// | all exits, page faults, halts | each vCPU | KVM, from Linux 5.14 on |
/// | notifications, requests, bytes, refused requests | each queue of a device | the device's threads |
/// | interrupts, failures that take a reset | each device | the device's threads |
/// | reads, writes, flushes, errors, bytes | each drive | the device's threads |
/// | frames, bytes, drops | each network device | [`NetCounters`](crate::NetCounters) |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// How long ago the VM started; after its end, how long it lived.
    pub age: Duration,
    /// The vCPUs, by their number.
    pub vcpus: Vec<VcpuMetrics>,
    /// The devices: drives, network devices, vsock, balloon, entropy, as far as they are there.
    pub devices: Vec<DeviceMetrics>,
}

/// How often a vCPU came out of the guest to this process, and why, and what it took of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VcpuMetrics {
    /// Reads of I/O ports.
    pub port_reads: u64,
    /// Writes to I/O ports; each byte that the guest prints is one.
    pub port_writes: u64,
    /// Reads of devices' registers.
    pub mmio_reads: u64,
    /// Writes to devices' registers, but for notifications, which KVM delivers itself.
    pub mmio_writes: u64,
    /// Interruptions by the host: pauses, the end, signals.
    pub interrupted: u64,
    /// Triple faults.
    pub shutdowns: u64,
    /// Whatever else; each ends the run.
    pub other: u64,
    /// The processor time that its thread has used: in the guest, in KVM and in this process. A guest that has nothing to
    /// do uses next to none, and one that works can't hide it.
    pub cpu_time: Duration,
    /// What KVM counts of this vCPU; `None` if it does not, or the VM had no vCPU yet.
    pub kvm: Option<KvmMetrics>,
}

impl VcpuMetrics {
    /// All exits to this process.
    #[must_use]
    pub fn exits(&self) -> u64 {
        let Self {
            port_reads,
            port_writes,
            mmio_reads,
            mmio_writes,
            interrupted,
            shutdowns,
            other,
            cpu_time: _,
            kvm: _,
        } = self;
        port_reads + port_writes + mmio_reads + mmio_writes + interrupted + shutdowns + other
    }
}

/// What KVM counts of a vCPU (Linux' `Documentation/virt/kvm/api.rst`, `KVM_GET_STATS_FD`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KvmMetrics {
    /// All exits from the guest, those that KVM handled included (`exits`).
    pub exits: u64,
    /// Pages that were given to the guest when it touched them (`pf_fixed`).
    pub page_faults: u64,
    /// How often the vCPU went idle (`halt_exits`).
    pub halts: u64,
    /// Interrupts that the vCPU got (`irq_injections`).
    pub interrupts: u64,
}

/// What a virtio device has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceMetrics {
    /// The name of its first thread, such as `vm-block0`, `vm-net0`, `vm-vsock`.
    pub name: String,
    /// Its queues.
    pub queues: Vec<QueueMetrics>,
    /// How often it raised its interrupt.
    pub interrupts: u64,
    /// How often it stopped working until its driver resets it, because the driver had wrecked a queue.
    pub resets_needed: u64,
    /// What was asked of the disk, if it is one.
    pub disk: Option<DiskMetrics>,
}

/// What went through a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueMetrics {
    /// Notifications by the driver.
    pub kicks: u64,
    /// Requests (descriptor chains) that were handed back to the driver.
    pub requests: u64,
    /// Those of them that were handed back as they were, because their descriptors were wrong.
    pub refused: u64,
    /// Bytes that the driver gave with them.
    pub bytes_from_guest: u64,
    /// Bytes that were written to them.
    pub bytes_to_guest: u64,
}

/// What was asked of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskMetrics {
    /// Reads that succeeded, those of the serial number included.
    pub reads: u64,
    /// Bytes of the disk that were read.
    pub read_bytes: u64,
    /// Writes that succeeded.
    pub writes: u64,
    /// Bytes of the disk that were written.
    pub written_bytes: u64,
    /// Flushes that succeeded.
    pub flushes: u64,
    /// Discards and write-zeroes that succeeded.
    pub discards: u64,
    /// Requests that the backend failed.
    pub errors: u64,
    /// Requests that were refused before they reached it: unknown, out of bounds, malformed, or writes to a
    /// read-only drive.
    pub refused: u64,
}

#[cfg(test)]
mod tests;
