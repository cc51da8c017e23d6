//! What a vCPU's thread does.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kvm_bindings::CpuId;
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
    /// It met a fault that it could not even report to its guest.
    TripleFault {
        vcpu: u8,
    },
    Failed(RunError),
}

/// A vCPU that its thread has while it runs, and whoever has paused the VM meanwhile.
pub(crate) type SharedVcpu = Arc<Mutex<Vcpu>>;

/// A vCPU.
#[derive(Debug)]
pub(crate) struct Vcpu {
    pub(crate) fd: VcpuFd,
    /// What its CPUID instruction answers, as KVM was told; some kinds of KVM don't say.
    pub(crate) cpuid: CpuId,
    /// Whether it is at the end of an instruction: what left guest mode in the middle of one has been
    /// answered, and KVM has seen the answer.
    pub(crate) is_settled: bool,
}

impl Vcpu {
    pub(super) fn new(fd: VcpuFd, cpuid: CpuId) -> Self {
        Self {
            fd,
            cpuid,
            is_settled: true,
        }
    }
}

/// Runs the vCPU until something ends the run.
pub(crate) fn run(vcpu: &Mutex<Vcpu>, context: &RunContext) -> Stop {
    while !context.stopping.load(Ordering::SeqCst) {
        let has_waited = context.gate.pass();
        let mut vcpu = vcpu.lock().unwrap_or_else(PoisonError::into_inner);
        if has_waited {
            // So that the guest does not take the pause for a processor that hangs. It fails where the
            // guest has no use for KVM's clock.
            let _has_no_such_clock = vcpu.fd.kvmclock_ctrl();
        }
        if let Some(stop) = run_to_gate(&mut vcpu, context) {
            return stop;
        }
    }
    Stop::Asked
}

/// Runs the vCPU until it should wait at the gate, or the run is over.
fn run_to_gate(vcpu: &mut Vcpu, context: &RunContext) -> Option<Stop> {
    vcpu.is_settled = false;
    let is_stopping = || context.stopping.load(Ordering::SeqCst);
    while !is_stopping() && !context.gate.is_closed() {
        if let Step::End(stop) = step(&mut vcpu.fd, context) {
            return Some(stop);
        }
    }
    // What the guest reads, KVM gives it when it is entered again, which it is without running any more.
    vcpu.fd.set_kvm_immediate_exit(1);
    let mut end = None;
    while !is_stopping() && !vcpu.is_settled && end.is_none() {
        match step(&mut vcpu.fd, context) {
            Step::Interrupted => vcpu.is_settled = true,
            Step::Done => {}
            Step::End(stop) => end = Some(stop),
        }
    }
    vcpu.fd.set_kvm_immediate_exit(0);
    end
}

/// What became of an exit.
enum Step {
    /// It was handled; the instruction may not be through.
    Done,
    /// There was nothing to handle.
    Interrupted,
    End(Stop),
}

impl From<Option<PowerEvent>> for Step {
    fn from(event: Option<PowerEvent>) -> Self {
        event.map_or(Self::Done, |event| Self::End(Stop::Power(event)))
    }
}

/// Runs the vCPU until it leaves guest mode, and handles the reason.
fn step(vcpu: &mut VcpuFd, context: &RunContext) -> Step {
    let machine = &context.machine;
    let exit = vcpu.run();
    context.exits.count(&exit);
    let reason = match exit {
        Ok(VcpuExit::IoOut(port, data)) => return machine.port_out(port, data).into(),
        Ok(VcpuExit::IoIn(port, data)) => {
            machine.port_in(port, data);
            return Step::Done;
        }
        Ok(VcpuExit::MmioRead(address, data)) => {
            machine.mmio_read(address, data);
            return Step::Done;
        }
        Ok(VcpuExit::MmioWrite(address, data)) => {
            machine.mmio_write(address, data);
            return Step::Done;
        }
        Ok(VcpuExit::Intr) => return Step::Interrupted,
        Ok(VcpuExit::Shutdown) => {
            return Step::End(Stop::TripleFault { vcpu: context.id });
        }
        Ok(exit) => format!("{exit:?}"),
        Err(error) => match error.errno() {
            // EAGAIN: the processor waits to be woken by another, and was disturbed.
            libc::EINTR | libc::EAGAIN => return Step::Interrupted,
            errno => {
                return Step::End(Stop::Failed(RunError::Kvm {
                    vcpu: context.id,
                    source: io::Error::from_raw_os_error(errno),
                }));
            }
        },
    };
    Step::End(Stop::Failed(RunError::Vcpu {
        vcpu: context.id,
        rip: vcpu.get_regs().map_or(0, |regs| regs.rip),
        reason,
    }))
}
