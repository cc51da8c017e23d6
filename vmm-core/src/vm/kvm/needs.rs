//! What a KVM must have for VMs of this crate.
//!
//! What it may lack is not listed: the clocks, performance counters and statistics that its VMs then do
//! without, and what [`Vm::state`](crate::Vm::state) and [`Vm::restore`](crate::Vm::restore) take besides, which
//! they tell of themselves.

use kvm_ioctls::Cap;

use crate::error::StartError;

/// The version of the interface (Linux, `Documentation/virt/kvm/api.rst`, section 4.1): the only one since 2.6.22.
const API_VERSION: i32 = 12;

/// Each capability without which no VM runs, and what it is for. Linux has had them all since 4.11.
const NEEDED: [(Cap, &str, &str); 9] = [
    (
        Cap::UserMemory,
        "KVM_CAP_USER_MEMORY",
        "give a guest memory of this process",
    ),
    (
        Cap::SetTssAddr,
        "KVM_CAP_SET_TSS_ADDR",
        "keep a task segment of its own out of that memory",
    ),
    (
        Cap::SetIdentityMapAddr,
        "KVM_CAP_SET_IDENTITY_MAP_ADDR",
        "keep a page table of its own out of that memory",
    ),
    (
        Cap::Irqchip,
        "KVM_CAP_IRQCHIP",
        "be the interrupt controllers",
    ),
    (Cap::Pit2, "KVM_CAP_PIT2", "be the interval timer"),
    (
        Cap::ExtCpuid,
        "KVM_CAP_EXT_CPUID",
        "say which of the processor's features a guest may have",
    ),
    (
        Cap::Irqfd,
        "KVM_CAP_IRQFD",
        "take the devices' interrupts from eventfds",
    ),
    (
        Cap::Ioeventfd,
        "KVM_CAP_IOEVENTFD",
        "tell the devices of a guest's kicks by eventfds",
    ),
    (
        Cap::ImmediateExit,
        "KVM_CAP_IMMEDIATE_EXIT",
        "stop a vCPU at the end of an instruction",
    ),
];

/// Checks that a KVM of this `version`, which `has` what it says, will do.
pub(super) fn check(version: i32, has: impl Fn(Cap) -> bool) -> Result<(), StartError> {
    if version != API_VERSION {
        return Err(StartError::KvmVersion { found: version });
    }
    NEEDED
        .into_iter()
        .find(|(capability, ..)| !has(*capability))
        .map_or(Ok(()), |(_, name, purpose)| {
            Err(StartError::KvmCapability { name, purpose })
        })
}

#[cfg(test)]
mod tests;
