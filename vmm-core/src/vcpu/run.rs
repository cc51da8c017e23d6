//! What a vCPU's thread does.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kvm_ioctls::{VcpuExit, VcpuFd};

use super::{ExitCounters, Gate};
use crate::error::RunError;
use crate::machine::{Machine, PowerEvent};
use crate::memory::Memory;

/// What a vCPU's thread works with.
pub(crate) struct RunContext {
    pub(crate) id: u8,
    pub(crate) machine: Arc<Machine>,
    /// Set when the run is over, before the thread is kicked.
    pub(crate) stopping: Arc<AtomicBool>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) exits: Arc<ExitCounters>,
    /// KVM maps this memory into the guest, so it must stay mapped here while the vCPU can run.
    pub(crate) _memory: Memory,
}

/// Why a vCPU stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It was told to.
    Asked,
    Power(PowerEvent),
    Failed(RunError),
}

/// Runs the vCPU until something ends the run.
pub(crate) fn run(mut vcpu: VcpuFd, context: &RunContext) -> Stop {
    while !context.stopping.load(Ordering::SeqCst) {
        if context.gate.pass() {
            // So that the guest does not take the pause for a processor that hangs. It fails where the
            // guest has no use for KVM's clock.
            let _has_no_such_clock = vcpu.kvmclock_ctrl();
            continue;
        }
        if let Some(stop) = step(&mut vcpu, context) {
            return stop;
        }
    }
    Stop::Asked
}

/// Runs the vCPU until it leaves guest mode, and handles the reason.
fn step(vcpu: &mut VcpuFd, context: &RunContext) -> Option<Stop> {
    let machine = &context.machine;
    let exit = vcpu.run();
    context.exits.count(&exit);
    let reason = match exit {
        Ok(VcpuExit::IoOut(port, data)) => {
            return machine.port_out(port, data).map(Stop::Power);
        }
        Ok(VcpuExit::IoIn(port, data)) => {
            machine.port_in(port, data);
            return None;
        }
        Ok(VcpuExit::MmioRead(address, data)) => {
            machine.mmio_read(address, data);
            return None;
        }
        Ok(VcpuExit::MmioWrite(address, data)) => {
            machine.mmio_write(address, data);
            return None;
        }
        Ok(VcpuExit::Intr) => return None,
        // A triple fault resets a PC, and is how some guests do it (`reboot=t`).
        Ok(VcpuExit::Shutdown) => {
            tracing::debug!(
                vcpu = context.id,
                "a guest's triple fault reset its machine"
            );
            return Some(Stop::Power(PowerEvent::Reset));
        }
        Ok(exit) => format!("{exit:?}"),
        Err(error) => match error.errno() {
            // EAGAIN: the processor waits to be woken by another, and was disturbed.
            libc::EINTR | libc::EAGAIN => return None,
            errno => {
                return Some(Stop::Failed(RunError::Kvm {
                    vcpu: context.id,
                    source: io::Error::from_raw_os_error(errno),
                }));
            }
        },
    };
    Some(Stop::Failed(RunError::Vcpu {
        vcpu: context.id,
        rip: vcpu.get_regs().map_or(0, |regs| regs.rip),
        reason,
    }))
}
