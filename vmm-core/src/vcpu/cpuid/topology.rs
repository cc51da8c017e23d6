//! One package, with one thread a core.

use kvm_bindings::kvm_cpuid_entry2;

use super::{ADDRESS_SIZES, entry};

const TOPOLOGY: u32 = 0xb;
const HYPER_THREADING: u32 = 1 << 28;
/// Level types of the topology leaf.
const LEVEL_THREAD: u32 = 1;
const LEVEL_CORE: u32 = 2;

/// Makes the answers those of processor `id` out of `count`.
pub(super) fn describe(entries: &mut Vec<kvm_cpuid_entry2>, id: u32, count: u32) {
    for entry in &mut *entries {
        change(entry, id, count);
    }
    // KVM lists this leaf with the host's levels, or without any.
    entries.retain(|entry| entry.function != TOPOLOGY);
    entries.extend(levels(id, count));
}

/// How many bits of an APIC id tell cores apart.
fn core_bits(count: u32) -> u32 {
    count.next_power_of_two().trailing_zeros()
}

fn levels(id: u32, count: u32) -> [kvm_cpuid_entry2; 3] {
    let level = |index, kind, shift, processors| kvm_cpuid_entry2 {
        eax: shift,
        ebx: processors,
        ecx: kind << 8 | index,
        edx: id,
        ..entry(TOPOLOGY, Some(index))
    };
    [
        level(0, LEVEL_THREAD, 0, 1),
        level(1, LEVEL_CORE, core_bits(count), count),
        level(2, 0, 0, 0),
    ]
}

fn change(entry: &mut kvm_cpuid_entry2, id: u32, count: u32) {
    match (entry.function, entry.index) {
        (0, _) => entry.eax = entry.eax.max(TOPOLOGY),
        (1, _) => {
            entry.ebx = entry.ebx & 0xffff | count << 16 | id << 24;
            entry.edx &= !HYPER_THREADING;
            if count > 1 {
                entry.edx |= HYPER_THREADING;
            }
        }
        (4, _) if cache_level(entry) > 0 => {
            // With how many cores of the package, too.
            entry.eax = entry.eax & 0x3fff | sharing(entry, count) << 14 | (count - 1) << 26;
        }
        (ADDRESS_SIZES, _) => entry.ecx = core_bits(count) << 12 | (count - 1),
        (0x8000_001d, _) if cache_level(entry) > 0 => {
            entry.eax = entry.eax & 0x3fff | sharing(entry, count) << 14;
        }
        (0x8000_001e, _) => (entry.eax, entry.ebx, entry.ecx) = (id, id, 0),
        _ => {}
    }
}

/// The level of the cache that an answer of the leaves 4 and 0x8000001d is about; 0 for none.
fn cache_level(entry: &kvm_cpuid_entry2) -> u32 {
    match entry.eax & 0b1_1111 {
        0 => 0,
        _ => entry.eax >> 5 & 0b111,
    }
}

/// How many other processors share a cache: all do from the third level on.
fn sharing(entry: &kvm_cpuid_entry2, count: u32) -> u32 {
    if cache_level(entry) >= 3 {
        count - 1
    } else {
        0
    }
}
