//! What is left of KVM's answers.

use kvm_bindings::kvm_cpuid_entry2;

/// Leaves that guests see, changed or not; every other one reads as nothing.
const LEAVES: [u32; 28] = [
    0,
    1,
    2,
    4,
    6,
    7,
    0xb,
    0xd,
    0x15,
    0x1d,
    0x1e,
    0x24,
    HYPERVISOR_LEAF,
    KVM_FEATURES,
    0x8000_0000,
    0x8000_0001,
    0x8000_0002,
    0x8000_0003,
    0x8000_0004,
    0x8000_0005,
    0x8000_0006,
    0x8000_0007,
    super::ADDRESS_SIZES,
    0x8000_0019,
    0x8000_001a,
    0x8000_001d,
    0x8000_001e,
    0x8000_0021,
];
const HYPERVISOR_LEAF: u32 = 0x4000_0000;
const KVM_FEATURES: u32 = 0x4000_0001;

/// Leaf 1, `ecx`.
const DEADLINE_TIMER: u32 = 1 << 24;
const HYPERVISOR: u32 = 1 << 31;
/// DTES64, MONITOR, DS-CPL, VMX, SMX, EIST, TM2, SDBG, xTPR, PDCM, DCA.
const LEAF_1_ECX: u32 = bits(&[2, 3, 4, 5, 6, 7, 8, 11, 14, 15, 18]);
/// Leaf 1, `edx`: DS, ACPI, TM, PBE.
const LEAF_1_EDX: u32 = bits(&[21, 22, 29, 31]);
/// Leaf 6, `eax`: ARAT, the timer that always runs.
const ALWAYS_RUNNING_TIMER: u32 = 1 << 2;
/// Leaf 7, `ebx`: SGX, HLE, RTM, RDT-M, MPX, RDT-A, processor trace.
const LEAF_7_EBX: u32 = bits(&[2, 4, 11, 12, 14, 15, 25]);
/// Leaf 7, `ecx`: WAITPKG, ENQCMD, SGX launch control.
const LEAF_7_ECX: u32 = bits(&[5, 29, 30]);
/// Leaf 7, `edx`: RTM_ALWAYS_ABORT, TSX_FORCE_ABORT, TSXLDTRK, PCONFIG, architectural LBRs.
const LEAF_7_EDX: u32 = bits(&[11, 13, 16, 18, 19]);
/// The last part of leaf 7 that guests see.
const LEAF_7_LAST: u32 = 2;
/// Leaf 7.1, `eax`: SHA512, SM3, SM4, AVX-VNNI, AVX512-BF16, CMPCCXADD, fast string instructions, AMX-FP16,
/// AVX-IFMA.
const LEAF_7_1_EAX: u32 = bits(&[0, 1, 2, 4, 5, 7, 10, 11, 12, 21, 23]);
/// Leaf 7.1, `edx`: AVX-VNNI-INT8, AVX-NE-CONVERT, AMX-COMPLEX, AVX-VNNI-INT16, PREFETCHI, AVX10.
const LEAF_7_1_EDX: u32 = bits(&[4, 5, 8, 10, 14, 19]);
/// Leaf 7.2, `edx`: PSFD, IPRED_CTRL, RRSBA_CTRL, DDPD_U, BHI_CTRL, MCDT_NO, of faults and their mitigations.
const LEAF_7_2_EDX: u32 = bits(&[0, 1, 2, 3, 4, 5]);
/// Leaf 0x80000001, `ecx`: SVM, IBS, SKINIT, LWP, node ids, performance counters of core, northbridge and
/// time, of the last cache, MWAITX.
const EXTENDED_ECX: u32 = bits(&[2, 10, 12, 15, 19, 23, 24, 27, 28, 29]);
/// Leaf 0x80000007, `edx`: the TSC is invariant.
const INVARIANT_TSC: u32 = 1 << 8;
/// Leaf 0x40000001, `eax`: both clocks and their stability, no delays after I/O, page-ready faults and their
/// interrupts, steal time, end of interrupt, kicks, TLB flushes, IPIs, polling, yields.
const KVM_EAX: u32 = bits(&[0, 1, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 24]);

const fn bits(numbers: &[u32]) -> u32 {
    let mut mask = 0;
    let mut index = 0;
    while index < numbers.len() {
        mask |= 1 << numbers[index];
        index += 1;
    }
    mask
}

/// Takes out what the table of the parent module says.
pub(super) fn filter(
    supported: &[kvm_cpuid_entry2],
    has_deadline_timer: bool,
) -> Vec<kvm_cpuid_entry2> {
    let seen = supported
        .iter()
        .filter(|entry| LEAVES.contains(&entry.function));
    let mut entries: Vec<_> = seen.copied().collect();
    for entry in &mut entries {
        change(entry, has_deadline_timer);
    }
    entries
}

fn change(entry: &mut kvm_cpuid_entry2, has_deadline_timer: bool) {
    match (entry.function, entry.index) {
        (1, _) => {
            entry.ecx = entry.ecx & !LEAF_1_ECX | HYPERVISOR;
            if has_deadline_timer {
                entry.ecx |= DEADLINE_TIMER;
            }
            entry.edx &= !LEAF_1_EDX;
        }
        (6, _) => {
            entry.eax &= ALWAYS_RUNNING_TIMER;
            (entry.ebx, entry.ecx, entry.edx) = (0, 0, 0);
        }
        (7, 0) => {
            entry.eax = entry.eax.min(LEAF_7_LAST);
            entry.ebx &= !LEAF_7_EBX;
            entry.ecx &= !LEAF_7_ECX;
            entry.edx &= !LEAF_7_EDX;
        }
        (7, part) => {
            let (eax, edx) = match part {
                1 => (LEAF_7_1_EAX, LEAF_7_1_EDX),
                2 => (0, LEAF_7_2_EDX),
                _ => (0, 0),
            };
            (entry.ebx, entry.ecx) = (0, 0);
            entry.eax &= eax;
            entry.edx &= edx;
        }
        // Those of the host's, which `frequency` replaces.
        (0x15, _) => (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0),
        (KVM_FEATURES, _) => {
            entry.eax &= KVM_EAX;
            entry.edx = 0;
        }
        (0x8000_0001, _) => entry.ecx &= !EXTENDED_ECX,
        (0x8000_0007, _) => {
            (entry.eax, entry.ebx, entry.ecx) = (0, 0, 0);
            entry.edx &= INVARIANT_TSC;
        }
        _ => {}
    }
}
