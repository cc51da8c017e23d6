//! Whether this host can give a vCPU the features that it had.

use kvm_bindings::kvm_cpuid_entry2;

use crate::state::StateError;

/// Registers in which each bit is a feature: leaf, subleaf, and whether `eax` to `edx` are such (Intel SDM
/// volume 2 and AMD APM volume 3, CPUID).
const FEATURES: [(u32, u32, [bool; 4]); 5] = [
    (1, 0, [false, false, true, true]),
    (7, 0, [false, true, true, true]),
    // What XCR0 may be.
    (0xd, 0, [true, false, false, true]),
    (0xd, 1, [true, false, false, false]),
    (0x8000_0001, 0, [false, false, true, true]),
];
const NAMES: [&str; 4] = ["eax", "ebx", "ecx", "edx"];

/// Refuses features of vCPU number `id` that are not among those `supported`.
pub(super) fn check(
    saved: &[kvm_cpuid_entry2],
    supported: &[kvm_cpuid_entry2],
    id: u8,
) -> Result<(), StateError> {
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
