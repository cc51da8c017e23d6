//! A vCPU's exits, counted by kind.

use std::time::Duration;

use kvm_ioctls::{Error, VcpuExit};

use crate::metrics::{Counter, VcpuMetrics};

/// Counts of one vCPU.
#[derive(Debug, Default)]
pub(crate) struct ExitCounters {
    port_reads: Counter,
    port_writes: Counter,
    mmio_reads: Counter,
    mmio_writes: Counter,
    interrupted: Counter,
    shutdowns: Counter,
    other: Counter,
}

impl ExitCounters {
    pub(super) fn count(&self, exit: &Result<VcpuExit<'_>, Error>) {
        let counter = match exit {
            Ok(VcpuExit::IoIn(..)) => &self.port_reads,
            Ok(VcpuExit::IoOut(..)) => &self.port_writes,
            Ok(VcpuExit::MmioRead(..)) => &self.mmio_reads,
            Ok(VcpuExit::MmioWrite(..)) => &self.mmio_writes,
            Ok(VcpuExit::Shutdown) => &self.shutdowns,
            Ok(VcpuExit::Intr) => &self.interrupted,
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => &self.interrupted,
            _ => &self.other,
        };
        counter.one();
    }

    /// What is counted here; nothing of what Linux and KVM count.
    pub(crate) fn read(&self) -> VcpuMetrics {
        VcpuMetrics {
            port_reads: self.port_reads.get(),
            port_writes: self.port_writes.get(),
            mmio_reads: self.mmio_reads.get(),
            mmio_writes: self.mmio_writes.get(),
            interrupted: self.interrupted.get(),
            shutdowns: self.shutdowns.get(),
            other: self.other.get(),
            cpu_time: Duration::ZERO,
            kvm: None,
        }
    }
}
