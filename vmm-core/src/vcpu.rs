//! Virtual processors.

mod counters;
mod cpuid;
mod gate;
mod registers;
mod run;
mod state;

pub(crate) use counters::ExitCounters;
pub(crate) use cpuid::CpuidTemplate;
pub(crate) use gate::Gate;
pub(crate) use run::{RunContext, SharedVcpu, Stop, Vcpu, run};
pub use state::{MsrState, VcpuState};
pub(crate) use state::{VcpuSaver, msrs_of_state, restore};

use kvm_ioctls::VmFd;

use crate::boot::BootEntry;
use crate::error::StartError;

/// Makes vCPU number `id`. The first starts at `entry`; the others wait until the guest wakes them.
pub(crate) fn create(
    vm: &VmFd,
    cpuid: &CpuidTemplate,
    entry: &BootEntry,
    id: u8,
    count: u8,
) -> Result<Vcpu, StartError> {
    let failed = |action| {
        move |error: kvm_ioctls::Error| StartError::Kvm {
            action,
            source: error.into(),
        }
    };
    let vcpu = vm
        .create_vcpu(u64::from(id))
        .map_err(failed("create a vCPU"))?;
    let tsc_khz = vcpu.get_tsc_khz().ok().filter(|khz| *khz > 0);
    let cpuid = cpuid.for_vcpu(id, count, tsc_khz)?;
    vcpu.set_cpuid2(&cpuid)
        .map_err(failed("set a vCPU's features"))?;
    registers::set_msrs(&vcpu).map_err(failed("set a vCPU's model-specific registers"))?;
    if id == 0 {
        registers::set_boot_state(&vcpu, *entry)
            .map_err(failed("set the boot vCPU's registers"))?;
    }
    Ok(Vcpu::new(vcpu, cpuid))
}
