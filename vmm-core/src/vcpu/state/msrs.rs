//! Model-specific registers.

use std::ops::RangeInclusive;

use kvm_bindings::{KVM_MAX_MSR_ENTRIES, Msrs, kvm_msr_entry};
use kvm_ioctls::VcpuFd;
use serde::{Deserialize, Serialize};
use vmm_sys_util::errno::Error;

use crate::state::StateError;

/// `IA32_TSC_DEADLINE`, which KVM only takes when the local APIC's timer is in that mode.
const TSC_DEADLINE: u32 = 0x6e0;

/// Memory types (Intel SDM volume 3, section 12.11): the default one, the fixed ranges, and bases and masks of the
/// variable ones. KVM has them, and leaves them out of its list.
const MTRRS: [RangeInclusive<u32>; 5] = [
    0x2ff..=0x2ff,
    0x250..=0x250,
    0x258..=0x259,
    0x268..=0x26f,
    0x200..=0x20f,
];

/// The registers that a state is made of, where a vCPU has them: those that KVM lists, and what it leaves out.
pub(crate) fn of_state(listed: &[u32]) -> Vec<u32> {
    let others = MTRRS.into_iter().flatten();
    let mut indices = listed.to_vec();
    indices.extend(others.filter(|index| !listed.contains(index)));
    indices
}

/// A model-specific register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MsrState {
    /// Its number.
    pub index: u32,
    /// Its value.
    pub value: u64,
}

/// Why registers could not be written.
pub(super) enum MsrError {
    Refused(MsrState),
    Kvm(Error),
}

impl From<Error> for MsrError {
    fn from(error: Error) -> Self {
        Self::Kvm(error)
    }
}

impl MsrError {
    pub(super) fn of(self, id: u8) -> StateError {
        let part = super::part(id);
        match self {
            Self::Refused(MsrState { index, value }) => StateError::Msr { part, index, value },
            Self::Kvm(error) => StateError::Kvm {
                part,
                action: "set the model-specific registers",
                source: error.into(),
            },
        }
    }
}

pub(super) fn is_of_apic_timer(msr: &MsrState) -> bool {
    msr.index == TSC_DEADLINE
}

/// Refuses registers that no state has: some of those that KVM takes switch on what guests are not offered.
pub(super) fn check(values: &[MsrState], indices: &[u32]) -> Result<(), MsrError> {
    match values.iter().find(|msr| !indices.contains(&msr.index)) {
        Some(foreign) => Err(MsrError::Refused(*foreign)),
        None => Ok(()),
    }
}

/// Those of the registers that the vCPU has.
pub(super) fn read(vcpu: &VcpuFd, indices: &[u32]) -> Result<Vec<MsrState>, Error> {
    let mut values = Vec::with_capacity(indices.len());
    let mut left = indices;
    while !left.is_empty() {
        let batch = &left[..left.len().min(KVM_MAX_MSR_ENTRIES)];
        let entries: Vec<_> = batch.iter().map(|index| entry(*index, 0)).collect();
        let mut msrs = list(&entries)?;
        // KVM stops at one that the vCPU does not have.
        let count = vcpu.get_msrs(&mut msrs)?;
        values.extend(msrs.as_slice()[..count].iter().map(|msr| MsrState {
            index: msr.index,
            value: msr.data,
        }));
        let skipped = usize::from(count < batch.len());
        left = &left[count + skipped..];
    }
    Ok(values)
}

/// Writes those of the registers that `is_meant`. One that KVM refuses, but that has its value already, is
/// fine.
pub(super) fn write(
    vcpu: &VcpuFd,
    values: &[MsrState],
    is_meant: impl Fn(&MsrState) -> bool,
) -> Result<(), MsrError> {
    let meant: Vec<_> = values.iter().copied().filter(is_meant).collect();
    let mut left = meant.as_slice();
    while !left.is_empty() {
        let batch = &left[..left.len().min(KVM_MAX_MSR_ENTRIES)];
        let entries: Vec<_> = batch.iter().map(|m| entry(m.index, m.value)).collect();
        let count = vcpu.set_msrs(&list(&entries)?)?;
        let Some(refused) = batch.get(count) else {
            left = &left[count..];
            continue;
        };
        if read(vcpu, &[refused.index])? != [*refused] {
            return Err(MsrError::Refused(*refused));
        }
        left = &left[count + 1..];
    }
    Ok(())
}

fn entry(index: u32, data: u64) -> kvm_msr_entry {
    kvm_msr_entry {
        index,
        data,
        ..Default::default()
    }
}

fn list(entries: &[kvm_msr_entry]) -> Result<Msrs, Error> {
    Msrs::from_entries(entries).map_err(|_| Error::new(libc::ENOMEM))
}

#[cfg(test)]
mod tests;
