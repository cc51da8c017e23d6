//! A vCPU as plain data, and back.
//!
//! The order in which KVM wants it back: CPUID before registers whose bits it allows, `XCR0` before the state
//! that it switches on, that before model-specific registers, the local APIC's mode (in `sregs`) before its
//! registers, these before the deadline of its timer, and whether the vCPU runs at all last.

mod features;
mod msrs;
mod xsave;

pub use msrs::MsrState;
pub(crate) use msrs::of_state as msrs_of_state;

use std::io;

use kvm_bindings::nested::KvmNestedStateBuffer;
use kvm_bindings::{
    CpuId, kvm_cpuid_entry2, kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_regs, kvm_sregs,
    kvm_vcpu_events, kvm_xcrs,
};
use kvm_ioctls::{VcpuFd, VmFd};
use serde::{Deserialize, Serialize};

use super::{CpuidTemplate, Vcpu};
use crate::state::{SaveError, StateError};

/// How far the frequency of a TSC may be off before it is set, in millionths, as KVM has it.
const TSC_TOLERANCE_PPM: u64 = 250;

/// The state of a vCPU, in KVM's structures (Linux' `Documentation/virt/kvm/api.rst`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VcpuState {
    /// What the CPUID instruction answers, as KVM was told.
    pub cpuid: Vec<kvm_cpuid_entry2>,
    /// Frequency of the TSC, in kHz; 0 if KVM does not say.
    pub tsc_khz: u32,
    /// General registers.
    pub regs: kvm_regs,
    /// Segments, control registers, the local APIC's base.
    pub sregs: kvm_sregs,
    /// `XCR0`.
    pub xcrs: kvm_xcrs,
    /// The XSAVE area: x87, SSE, AVX, …: 1024 words, or more where the process has asked for it (AMX).
    pub xsave: Vec<u32>,
    /// Debug registers.
    pub debug_regs: kvm_debugregs,
    /// Model-specific registers, the TSC among them.
    pub msrs: Vec<MsrState>,
    /// The local APIC.
    pub lapic: kvm_lapic_state,
    /// Exceptions and interrupts on their way.
    pub events: kvm_vcpu_events,
    /// Whether it runs, is halted, or waits to be started.
    pub mp_state: kvm_mp_state,
}

/// What is asked of each vCPU, besides its own descriptor.
pub(crate) struct VcpuSaver<'a> {
    pub(crate) vm: &'a VmFd,
    pub(crate) msr_indices: &'a [u32],
}

impl VcpuSaver<'_> {
    /// The state of vCPU number `id`, which does not run.
    pub(crate) fn save(&self, vcpu: &Vcpu, id: u8) -> Result<VcpuState, SaveError> {
        let Vcpu {
            fd: vcpu, cpuid, ..
        } = vcpu;
        if has_guest(vcpu) {
            return Err(SaveError::Nested { vcpu: id });
        }
        let failed = |action| {
            move |error: kvm_ioctls::Error| SaveError::Kvm {
                part: part(id),
                action,
                source: error.into(),
            }
        };
        // Reading it first settles what the APIC has pending, which the rest then shows.
        let mp_state = vcpu.get_mp_state().map_err(failed("read the run state"))?;
        Ok(VcpuState {
            cpuid: cpuid.as_slice().to_vec(),
            tsc_khz: vcpu.get_tsc_khz().unwrap_or(0),
            regs: vcpu.get_regs().map_err(failed("read the registers"))?,
            sregs: vcpu
                .get_sregs()
                .map_err(failed("read the special registers"))?,
            xcrs: vcpu.get_xcrs().map_err(failed("read XCR0"))?,
            xsave: xsave::read(self.vm, vcpu).map_err(failed("read the XSAVE area"))?,
            debug_regs: vcpu
                .get_debug_regs()
                .map_err(failed("read the debug registers"))?,
            msrs: msrs::read(vcpu, self.msr_indices)
                .map_err(failed("read the model-specific registers"))?,
            lapic: vcpu.get_lapic().map_err(failed("read the local APIC"))?,
            events: vcpu
                .get_vcpu_events()
                .map_err(failed("read the pending events"))?,
            mp_state,
        })
    }
}

/// Makes vCPU number `id` of `count` in that state, of which these model-specific registers may be a part.
pub(crate) fn restore(
    vm: &VmFd,
    supported: &CpuidTemplate,
    saved: &VcpuState,
    msr_indices: &[u32],
    id: u8,
    count: u8,
) -> Result<Vcpu, StateError> {
    let failed = |action| {
        move |error: kvm_ioctls::Error| StateError::Kvm {
            part: part(id),
            action,
            source: error.into(),
        }
    };
    let tsc_khz = Some(saved.tsc_khz).filter(|khz| *khz > 0);
    features::check(&saved.cpuid, &supported.entries(id, count, tsc_khz), id)?;
    msrs::check(&saved.msrs, msr_indices).map_err(|error| error.of(id))?;
    let vcpu = vm
        .create_vcpu(u64::from(id))
        .map_err(failed("create the descriptor"))?;
    set_tsc_frequency(&vcpu, saved.tsc_khz).map_err(failed("set the TSC's frequency"))?;
    let cpuid = CpuId::from_entries(&saved.cpuid).map_err(|_| StateError::Kvm {
        part: part(id),
        action: "take the features",
        source: io::ErrorKind::InvalidInput.into(),
    })?;
    vcpu.set_cpuid2(&cpuid)
        .map_err(failed("set the features"))?;
    vcpu.set_sregs(&saved.sregs)
        .map_err(failed("set the special registers"))?;
    vcpu.set_xcrs(&saved.xcrs).map_err(failed("set XCR0"))?;
    xsave::write(vm, &vcpu, &saved.xsave).map_err(failed("set the XSAVE area"))?;
    msrs::write(&vcpu, &saved.msrs, |_| true).map_err(|error| error.of(id))?;
    vcpu.set_lapic(&saved.lapic)
        .map_err(failed("set the local APIC"))?;
    msrs::write(&vcpu, &saved.msrs, msrs::is_of_apic_timer).map_err(|error| error.of(id))?;
    vcpu.set_regs(&saved.regs)
        .map_err(failed("set the registers"))?;
    vcpu.set_debug_regs(&saved.debug_regs)
        .map_err(failed("set the debug registers"))?;
    vcpu.set_vcpu_events(&saved.events)
        .map_err(failed("set the pending events"))?;
    vcpu.set_mp_state(saved.mp_state)
        .map_err(failed("set the run state"))?;
    // So that the guest does not take the time in between for a processor that hangs; fails where it does not
    // use KVM's clock.
    let _has_no_such_clock = vcpu.kvmclock_ctrl();
    Ok(Vcpu::new(vcpu, cpuid))
}

/// Whether the guest is a host itself, and has loaded a guest's state.
fn has_guest(vcpu: &VcpuFd) -> bool {
    // An error means that KVM has no guests of guests.
    matches!(
        vcpu.nested_state(&mut KvmNestedStateBuffer::empty()),
        Ok(Some(_))
    )
}

fn set_tsc_frequency(vcpu: &VcpuFd, khz: u32) -> Result<(), kvm_ioctls::Error> {
    let here = vcpu.get_tsc_khz().unwrap_or(0);
    let tolerated = u64::from(here) * TSC_TOLERANCE_PPM / 1_000_000;
    if khz == 0 || u64::from(khz.abs_diff(here)) <= tolerated {
        return Ok(());
    }
    vcpu.set_tsc_khz(khz)
}

fn part(id: u8) -> String {
    format!("vCPU {id}")
}
