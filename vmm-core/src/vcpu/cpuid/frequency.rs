//! Frequencies, so that guests need not measure them.

use kvm_bindings::kvm_cpuid_entry2;

use super::entry;

/// Intel's leaf of TSC and core crystal, which is also what drives the APIC's timer.
const TSC_LEAF: u32 = 0x15;
const HYPERVISOR_LEAF: u32 = 0x4000_0000;
/// VMware's leaf of frequencies, which other hypervisors have, too.
const TIMING_LEAF: u32 = 0x4000_0010;
/// What KVM's APIC timers count: a tick each nanosecond.
const APIC_BUS_KHZ: u32 = 1_000_000;

/// Tells the frequency of the TSC, and that of the APIC's timer.
pub(super) fn describe(entries: &mut Vec<kvm_cpuid_entry2>, tsc_khz: u32) {
    let has_tsc_leaf = entries
        .iter()
        .any(|entry| entry.function == 0 && entry.eax >= TSC_LEAF);
    if let Some((numerator, denominator)) = exact_ratio(tsc_khz).filter(|_| has_tsc_leaf) {
        entries.retain(|entry| entry.function != TSC_LEAF);
        entries.push(kvm_cpuid_entry2 {
            eax: denominator,
            ebx: numerator,
            ecx: APIC_BUS_KHZ * 1000,
            ..entry(TSC_LEAF, None)
        });
    }
    if let Some(base) = entries.iter_mut().find(|e| e.function == HYPERVISOR_LEAF) {
        base.eax = base.eax.max(TIMING_LEAF);
        entries.push(kvm_cpuid_entry2 {
            eax: tsc_khz,
            ebx: APIC_BUS_KHZ,
            ..entry(TIMING_LEAF, None)
        });
    }
}

/// The TSC's frequency as a multiple of the bus', unless Linux would compute another one from it: it
/// multiplies by the bus' kHz in 32 bits.
fn exact_ratio(tsc_khz: u32) -> Option<(u32, u32)> {
    let divisor = common_divisor(tsc_khz, APIC_BUS_KHZ);
    let (numerator, denominator) = (tsc_khz / divisor, APIC_BUS_KHZ / divisor);
    numerator.checked_mul(APIC_BUS_KHZ)?;
    (numerator > 0).then_some((numerator, denominator))
}

/// Euclid's algorithm; `b` is not 0.
fn common_divisor(a: u32, b: u32) -> u32 {
    match a % b {
        0 => b,
        rest => common_divisor(b, rest),
    }
}
