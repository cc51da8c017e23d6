//! What the guest's CPUID instruction answers.
//!
//! The host's features, as far as KVM can give them to a guest, with a topology of our own: one package with
//! one thread a core.

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::{Cap, Kvm};

use crate::error::StartError;

const TSC_DEADLINE: u32 = 1 << 24;
const HYPERVISOR: u32 = 1 << 31;
const HYPER_THREADING: u32 = 1 << 28;
/// The leaf that says how long addresses are.
const ADDRESS_SIZES: u32 = 0x8000_0008;
/// Level types of the topology leaves 0xb and 0x1f.
const LEVEL_THREAD: u32 = 1;
const LEVEL_CORE: u32 = 2;

/// The answers that all vCPUs of a VM share.
pub(crate) struct CpuidTemplate(CpuId);

impl CpuidTemplate {
    pub(crate) fn new(kvm: &Kvm) -> Result<Self, StartError> {
        let failed = |error: kvm_ioctls::Error| StartError::Kvm {
            action: "list the processor features that guests can have",
            source: error.into(),
        };
        let mut cpuid = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(failed)?;
        let has_deadline_timer = kvm.check_extension(Cap::TscDeadlineTimer);
        for entry in cpuid.as_mut_slice() {
            if entry.function == 1 {
                entry.ecx |= HYPERVISOR;
                if has_deadline_timer {
                    entry.ecx |= TSC_DEADLINE;
                }
            }
        }
        Ok(Self(cpuid))
    }

    /// How many bits the guest's physical addresses have.
    pub(crate) fn address_bits(&self) -> u8 {
        let sizes = |entry: &&kvm_cpuid_entry2| entry.function == ADDRESS_SIZES;
        let entry = self.0.as_slice().iter().find(sizes);
        // What processors without that leaf have (Intel SDM volume 2, CPUID).
        entry.map_or(36, |entry| entry.eax.to_le_bytes()[0])
    }

    /// The answers of vCPU `id` out of `count`.
    pub(crate) fn for_vcpu(&self, id: u8, count: u8) -> CpuId {
        let mut cpuid = self.0.clone();
        for entry in cpuid.as_mut_slice() {
            set_topology(entry, u32::from(id), u32::from(count));
        }
        cpuid
    }
}

/// Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E.
fn set_topology(entry: &mut kvm_cpuid_entry2, id: u32, count: u32) {
    let core_bits = count.next_power_of_two().trailing_zeros();
    match (entry.function, entry.index) {
        (1, _) => {
            entry.ebx = entry.ebx & 0xffff | count << 16 | id << 24;
            entry.edx &= !HYPER_THREADING;
            if count > 1 {
                entry.edx |= HYPER_THREADING;
            }
        }
        (4, _) => {
            // Cores in the package, and logical processors that share a cache: all for the last level.
            let level = entry.eax >> 5 & 0b111;
            let sharing = if level >= 3 { count - 1 } else { 0 };
            entry.eax = entry.eax & 0x3fff | sharing << 14 | (count - 1) << 26;
        }
        (0xb | 0x1f, 0) => {
            (entry.eax, entry.ebx) = (0, 1);
            (entry.ecx, entry.edx) = (LEVEL_THREAD << 8, id);
        }
        (0xb | 0x1f, 1) => {
            (entry.eax, entry.ebx) = (core_bits, count);
            (entry.ecx, entry.edx) = (LEVEL_CORE << 8 | 1, id);
        }
        (0xb | 0x1f, index) => {
            (entry.eax, entry.ebx) = (0, 0);
            (entry.ecx, entry.edx) = (index & 0xff, id);
        }
        (ADDRESS_SIZES, _) => entry.ecx = core_bits << 12 | (count - 1),
        (0x8000_001d, _) => {
            let level = entry.eax >> 5 & 0b111;
            let sharing = if level >= 3 { count - 1 } else { 0 };
            entry.eax = entry.eax & 0x3fff | sharing << 14;
        }
        (0x8000_001e, _) => (entry.eax, entry.ebx, entry.ecx) = (id, id, 0),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
