//! The VM as KVM sees it, before it has vCPUs and devices.

#![expect(
    unsafe_code,
    reason = "giving KVM memory of this process is inherently unsafe"
)]

mod needs;

use std::ffi::CStr;
use std::io;

use kvm_bindings::{
    KVM_CAP_PMU_CAPABILITY, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_PIT_SPEAKER_DUMMY,
    KVM_PMU_CAP_DISABLE, kvm_enable_cap, kvm_irqchip, kvm_pit_config, kvm_userspace_memory_region,
};
use kvm_ioctls::{Kvm, VmFd};
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};

use super::build::host;
use crate::error::StartError;
use crate::layout::{KVM_IDENTITY_MAP, KVM_TSS};
use crate::memory::{self, Memory};

/// How often a VM is asked for while signals interrupt that.
const CREATE_ATTEMPTS: u32 = 10;

/// Opens the KVM device at `path`, and makes sure that it has all that a VM takes.
pub(super) fn open(path: &CStr) -> Result<Kvm, StartError> {
    let kvm = open_device(path)?;
    needs::check(kvm.get_api_version(), |needed| kvm.check_extension(needed))?;
    Ok(kvm)
}

fn open_device(path: &CStr) -> Result<Kvm, StartError> {
    Kvm::new_with_path(path).map_err(|error| {
        let source = io::Error::from(error);
        match source.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => StartError::KvmPermission { source },
            Some(libc::ENOENT | libc::ENODEV | libc::ENXIO | libc::ENOTDIR) => {
                StartError::NoKvm { source }
            }
            Some(libc::EMFILE | libc::ENFILE) => host("open /dev/kvm")(source),
            _ => StartError::Kvm {
                action: "be opened",
                source,
            },
        }
    })
}

/// Makes a VM with `memory`, KVM's interrupt controllers and its timer.
pub(super) fn create_vm(kvm: &Kvm, memory: &Memory) -> Result<VmFd, StartError> {
    let vm = create_empty_vm(kvm).map_err(kvm_error("create a VM"))?;
    leave_out_performance_counters(&vm);
    vm.set_tss_address(KVM_TSS)
        .map_err(kvm_error("set the TSS address"))?;
    vm.set_identity_map_address(KVM_IDENTITY_MAP)
        .map_err(kvm_error("set the identity map address"))?;
    for (slot, region) in (0..).zip(memory.iter()) {
        let region = kvm_userspace_memory_region {
            slot,
            guest_phys_addr: region.start_addr().raw_value(),
            memory_size: region.len(),
            userspace_addr: region.host_address().addr().get() as u64,
            flags: 0,
        };
        // SAFETY: the mapping belongs to `memory`, a clone of which every thread that runs a vCPU keeps,
        // so it is there for as long as a guest can reach it; Rust code uses it only as volatile memory.
        unsafe { vm.set_user_memory_region(region) }.map_err(|error| StartError::MapMemory {
            asked_mib: memory::mib(memory),
            source: error.into(),
        })?;
    }
    vm.create_irq_chip()
        .map_err(kvm_error("create the interrupt controllers"))?;
    mask_legacy_controllers(&vm).map_err(kvm_error("mask the legacy interrupt controllers"))?;
    vm.create_pit2(kvm_pit_config {
        flags: KVM_PIT_SPEAKER_DUMMY,
        ..Default::default()
    })
    .map_err(kvm_error("create the interval timer"))?;
    Ok(vm)
}

/// Takes the performance counters away, of which CPUID tells nothing either. Kernels before 5.18 can't, and
/// then only what guests try without asking CPUID reaches them.
fn leave_out_performance_counters(vm: &VmFd) {
    let mut request = kvm_enable_cap {
        cap: KVM_CAP_PMU_CAPABILITY,
        ..Default::default()
    };
    request.args[0] = KVM_PMU_CAP_DISABLE.into();
    if let Err(error) = vm.enable_cap(&request) {
        tracing::debug!(%error, "KVM keeps its performance counters");
    }
}

/// Masks all lines of the two 8259s, as firmware would. Kernels on hardware-reduced ACPI leave these
/// controllers alone, so that a line that is raised early, as the power button's may be, would reach a
/// kernel that can't take it yet.
fn mask_legacy_controllers(vm: &VmFd) -> Result<(), kvm_ioctls::Error> {
    const ALL_LINES: u8 = 0xff;
    for chip_id in [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE] {
        let mut chip = kvm_irqchip {
            chip_id,
            ..Default::default()
        };
        vm.get_irqchip(&mut chip)?;
        // SAFETY: for these two chips, KVM has just filled in this field of the union; any bytes make one.
        let pic = unsafe { &mut chip.chip.pic };
        pic.imr = ALL_LINES;
        vm.set_irqchip(&chip)?;
    }
    Ok(())
}

/// Asks again when a signal of the embedder's, or of the kernel's own, got in between.
fn create_empty_vm(kvm: &Kvm) -> Result<VmFd, kvm_ioctls::Error> {
    for _ in 1..CREATE_ATTEMPTS {
        match kvm.create_vm() {
            Err(error) if error.errno() == libc::EINTR => {}
            result => return result,
        }
    }
    kvm.create_vm()
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
