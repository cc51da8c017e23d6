//! Virtual processors.

mod cpuid;
mod gate;
mod registers;
mod run;

pub(crate) use cpuid::CpuidTemplate;
pub(crate) use gate::Gate;
pub(crate) use run::{RunContext, Stop, run};

use kvm_ioctls::{VcpuFd, VmFd};

use crate::boot::BootEntry;
use crate::error::StartError;

/// Makes vCPU number `id`. The first starts at `entry`; the others wait until the guest wakes them.
pub(crate) fn create(
    vm: &VmFd,
    cpuid: &CpuidTemplate,
    entry: &BootEntry,
    id: u8,
    count: u8,
) -> Result<VcpuFd, StartError> {
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
    vcpu.set_cpuid2(&cpuid.for_vcpu(id, count, tsc_khz)?)
        .map_err(failed("set a vCPU's features"))?;
    registers::set_msrs(&vcpu).map_err(failed("set a vCPU's model-specific registers"))?;
    if id == 0 {
        registers::set_boot_state(&vcpu, *entry)
            .map_err(failed("set the boot vCPU's registers"))?;
    }
    Ok(vcpu)
}
