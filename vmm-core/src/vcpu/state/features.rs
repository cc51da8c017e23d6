//! Whether this host can give a vCPU the features that it had, and gives no others by a state that was tampered with.

use kvm_bindings::kvm_cpuid_entry2;

use crate::state::StateError;

/// Registers in which each bit is a feature: leaf, subleaf, and whether `eax` to `edx` are such (Intel SDM
/// volume 2 and AMD APM volume 3, CPUID).
const FEATURES: [(u32, u32, [bool; 4]); 11] = [
    (1, 0, [false, false, true, true]),
    (7, 0, [false, true, true, true]),
    (7, 1, [true, true, true, true]),
    (7, 2, [false, false, false, true]),
    // What XCR0 may be.
    (0xd, 0, [true, false, false, true]),
    (0xd, 1, [true, false, false, false]),
    // KVM's own.
    (0x4000_0001, 0, [true, false, false, false]),
    (0x8000_0001, 0, [false, false, true, true]),
    // An invariant TSC.
    (0x8000_0007, 0, [false, false, false, true]),
    (0x8000_0008, 0, [false, true, false, false]),
    (0x8000_0021, 0, [true, false, false, false]),
];
const NAMES: [&str; 4] = ["eax", "ebx", "ecx", "edx"];

/// Refuses leaves and features of vCPU number `id` that are not among those `supported`. KVM looks at a leaf's `index` only
/// if its flags say so, and takes the first of several: each leaf must be there in the same way, and once.
pub(super) fn check(
    saved: &[kvm_cpuid_entry2],
    supported: &[kvm_cpuid_entry2],
    id: u8,
) -> Result<(), StateError> {
    let key = |entry: &kvm_cpuid_entry2| (entry.function, entry.index, entry.flags);
    let mut left: Vec<_> = supported.iter().map(key).collect();
    for entry in saved {
        let Some(found) = left.iter().position(|known| *known == key(entry)) else {
            return Err(StateError::CpuLeaf {
                vcpu: id,
                leaf: entry.function,
                subleaf: entry.index,
            });
        };
        left.swap_remove(found);
    }
    for (leaf, subleaf, are_features) in FEATURES {
        let had = registers(saved, leaf, subleaf);
        let has = registers(supported, leaf, subleaf);
        for (index, register) in NAMES.into_iter().enumerate() {
            let missing = had[index] & !has[index];
            if are_features[index] && missing != 0 {
                return Err(StateError::CpuFeatures {
                    vcpu: id,
                    leaf,
                    register,
                    bits: missing,
                });
            }
        }
    }
    Ok(())
}

/// `eax` to `edx` of a leaf; all zero if there is none.
fn registers(entries: &[kvm_cpuid_entry2], leaf: u32, subleaf: u32) -> [u32; 4] {
    let is_it = |entry: &&kvm_cpuid_entry2| entry.function == leaf && entry.index == subleaf;
    entries
        .iter()
        .find(is_it)
        .map_or([0; 4], |entry| [entry.eax, entry.ebx, entry.ecx, entry.edx])
}

#[cfg(test)]
mod tests;
