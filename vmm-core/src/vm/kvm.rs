//! The VM as KVM sees it, before it has vCPUs and devices.

#![expect(
    unsafe_code,
    reason = "giving KVM memory of this process is inherently unsafe"
)]

use std::ffi::CStr;
use std::io;

use kvm_bindings::{KVM_PIT_SPEAKER_DUMMY, kvm_pit_config, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VmFd};
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};

use crate::error::StartError;
use crate::layout::{KVM_IDENTITY_MAP, KVM_TSS};
use crate::memory::Memory;

/// Opens the KVM device.
pub(super) fn open(path: &CStr) -> Result<Kvm, StartError> {
    Kvm::new_with_path(path).map_err(|error| {
        let source = io::Error::from(error);
        match source.kind() {
            io::ErrorKind::PermissionDenied => StartError::KvmPermission { source },
            _ => StartError::NoKvm { source },
        }
    })
}

/// Makes a VM with `memory`, KVM's interrupt controllers and its timer.
pub(super) fn create_vm(kvm: &Kvm, memory: &Memory) -> Result<VmFd, StartError> {
    let vm = kvm.create_vm().map_err(kvm_error("create a VM"))?;
    vm.set_tss_address(KVM_TSS)
        .map_err(kvm_error("set the TSS address"))?;
    vm.set_identity_map_address(KVM_IDENTITY_MAP)
        .map_err(kvm_error("set the identity map address"))?;
    for (slot, region) in (0..).zip(memory.iter()) {
        let region = kvm_userspace_memory_region {
            slot,
            guest_phys_addr: region.start_addr().raw_value(),
            memory_size: region.len(),
            userspace_addr: region.as_ptr() as u64,
            flags: 0,
        };
        // SAFETY: the mapping belongs to `memory`, a clone of which every thread that runs a vCPU keeps,
        // so it is there for as long as a guest can reach it; Rust code uses it only as volatile memory.
        unsafe { vm.set_user_memory_region(region) }
            .map_err(kvm_error("give the guest its memory"))?;
    }
    vm.create_irq_chip()
        .map_err(kvm_error("create the interrupt controllers"))?;
    vm.create_pit2(kvm_pit_config {
        flags: KVM_PIT_SPEAKER_DUMMY,
        ..Default::default()
    })
    .map_err(kvm_error("create the interval timer"))?;
    Ok(vm)
}

/// The error of a request to KVM.
pub(super) fn kvm_error(action: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> StartError {
    move |error| StartError::Kvm {
        action,
        source: error.into(),
    }
}

#[cfg(test)]
mod tests;
