//! What the guest's CPUID instruction answers.
//!
//! It begins as what KVM can give to guests on this host, and goes through three hands: what guests have no
//! use for, or would reach too much of the host by, is taken out (`filter`); processors are put into one
//! package, with one thread a core (`topology`); frequencies are told where they are exact (`frequency`). The
//! vendor, the model and the instruction sets stay those of the host. Sources: Intel SDM volume 2, CPUID; AMD
//! APM volume 3, appendix E; Linux' `Documentation/virt/kvm/x86/cpuid.rst`.
//!
//! | leaf | what the guest sees | why |
//! |---|---|---|
//! | 0 | the highest leaf is at least 0xb | its topology is there |
//! | 1 | APIC id and count of its own; a hypervisor; the TSC deadline timer if KVM has it; no VMX, SMX, MONITOR, debug store, thermal or power management | KVM keeps the deadline timer out of its list; a guest that runs guests reaches a large part of the host's kernel; the rest is the host's to manage |
//! | 2 | as KVM has it | |
//! | 4, 0x8000001d | caches: the first two levels are each core's, the others all cores' | topology |
//! | 5 | nothing: no MONITOR and MWAIT | a guest that waits keeps its core |
//! | 6 | an APIC timer that always runs, and nothing else | guests need no second timer to wake them; frequency and temperature are the host's |
//! | 7 | no TSX, SGX, WAITPKG, MPX, resource directors, processor trace, ENQCMD, PCONFIG, LBRs | broken, retired, or the host's; what tells of faults of the processor and their mitigations stays |
//! | 7.1, 7.2 | a list of instruction sets and of mitigations; parts behind them: nothing | nobody has looked at the rest |
//! | 0xa, 0x80000022 | nothing: no performance counters | they count, and time, more than the guest; KVM is told so, too |
//! | 0xb | threads and cores, by x2APIC id; also where KVM has none | topology |
//! | 0xd, 0x1d, 0x1e, 0x24 | as KVM has it | sizes of what the instruction sets save |
//! | 0x15 | the TSC's frequency in terms of KVM's APIC bus, 1 GHz, on processors that have the leaf and if the ratio is exact in the numbers that Linux computes with | no calibration by guests without KVM's clock |
//! | 0x16 | nothing | nominal frequencies only mislead |
//! | 0x40000000, 0x40000001 | KVM, and of its features those that need nothing of a VMM: clocks, steal time, end-of-interrupt, kicks, TLB flushes, IPIs, page-ready interrupts; no hints | the guest's processors may be preempted |
//! | 0x40000010 | frequencies of TSC and APIC bus in kHz | no calibration; VMware's leaf, that other systems and tools know |
//! | 0x80000001 | no SVM, SKINIT, IBS, LWP, performance counters, node ids, MWAITX | as for leaves 1, 5 and 0xa |
//! | 0x80000002 to 6, 0x80000019, 0x8000001a, 0x80000021 | as KVM has it | names, caches and TLBs, properties |
//! | 0x80000007 | the TSC's invariance, if the host has it | power is the host's |
//! | 0x80000008 | sizes of addresses as KVM has it, cores of its own | topology |
//! | 0x8000001e | a compute unit and a node of its own | topology |
//! | all others | nothing | nobody has looked at them: SGX, processor trace, resource directors, encrypted guests, what is yet to come |
//!
//! Leaves are let through by a list. So are the features of the leaves 6, 7.1, 7.2, 0x40000001 and 0x80000007; in the
//! other leaves, features that KVM learns to offer reach guests unless they are taken out here: most are instructions
//! or mitigations, which KVM can give to guests without a VMM's help.
//!
//! Nothing is added that costs the guest time at its boot.

mod filter;
mod frequency;
mod topology;

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::{Cap, Kvm};

use crate::error::StartError;

/// The leaf that says how long addresses are.
const ADDRESS_SIZES: u32 = 0x8000_0008;

/// The answers that all vCPUs of a VM share.
pub(crate) struct CpuidTemplate(Vec<kvm_cpuid_entry2>);

impl CpuidTemplate {
    pub(crate) fn new(kvm: &Kvm) -> Result<Self, StartError> {
        let failed = |error: kvm_ioctls::Error| StartError::Kvm {
            action: "list the processor features that guests can have",
            source: error.into(),
        };
        let supported = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(failed)?;
        let has_deadline_timer = kvm.check_extension(Cap::TscDeadlineTimer);
        let entries = filter::filter(supported.as_slice(), has_deadline_timer);
        Ok(Self(entries))
    }

    /// How many bits the guest's physical addresses have.
    pub(crate) fn address_bits(&self) -> u8 {
        let sizes = self.0.iter().find(|entry| entry.function == ADDRESS_SIZES);
        // What processors without that leaf have.
        sizes.map_or(36, |entry| entry.eax.to_le_bytes()[0])
    }

    /// The answers of vCPU `id` out of `count`, whose TSC runs at so many kHz, if that is known.
    pub(crate) fn for_vcpu(
        &self,
        id: u8,
        count: u8,
        tsc_khz: Option<u32>,
    ) -> Result<CpuId, StartError> {
        let entries = self.entries(id, count, tsc_khz);
        CpuId::from_entries(&entries).map_err(|_| StartError::Kvm {
            action: "take that many processor features",
            source: std::io::ErrorKind::OutOfMemory.into(),
        })
    }

    /// The same as a list.
    pub(crate) fn entries(&self, id: u8, count: u8, tsc_khz: Option<u32>) -> Vec<kvm_cpuid_entry2> {
        let mut entries = self.0.clone();
        topology::describe(&mut entries, id.into(), count.into());
        if let Some(tsc_khz) = tsc_khz {
            frequency::describe(&mut entries, tsc_khz);
        }
        entries
    }
}

/// An answer to leaf `function`, with `index` in `ecx` if that matters to it.
fn entry(function: u32, index: Option<u32>) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 {
        function,
        index: index.unwrap_or(0),
        flags: index.map_or(0, |_| kvm_bindings::KVM_CPUID_FLAG_SIGNIFCANT_INDEX),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
