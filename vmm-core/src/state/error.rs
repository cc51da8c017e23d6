//! Why a state could not be had, or is refused.

use std::fmt::Display;
use std::io;

/// Why [`Vm::state`](crate::Vm::state) or [`Vm::copy_memory`](crate::Vm::copy_memory) failed. The VM is as it
/// was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The guest runs, or its run is over.
    #[error(
        "the VM is not paused: pause it first, and keep it paused; a VM that has ended has no state"
    )]
    NotPaused,
    /// KVM refused a request.
    #[error("KVM could not {action} of {part}")]
    Kvm {
        /// `vCPU 0`, `the VM`.
        part: String,
        /// What was asked of it.
        action: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// The guest runs guests of its own.
    #[error("vCPU {vcpu} runs a virtual machine of its own, whose state can't be saved")]
    Nested {
        /// Which vCPU, counted from 0.
        vcpu: u8,
    },
    /// The writer failed.
    #[error("could not write the guest's memory")]
    Write {
        /// What it answered.
        source: io::Error,
    },
}

/// Why a state is refused by [`Vm::restore`](crate::Vm::restore).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The configuration is not the one that the VM had.
    #[error(
        "{setting}: the state is of a VM with {state}, and the configuration says {config}; restore a VM with the \
         configuration that it was started with"
    )]
    Differs {
        /// What differs.
        setting: String,
        /// Its value in the state.
        state: String,
        /// Its value in the configuration.
        config: String,
    },
    /// A value that no VM has: the state was damaged, or made up.
    #[error("{part}: {field} is {value:#x} in the state, which is not {allowed}")]
    Invalid {
        /// The device, vCPU or controller.
        part: String,
        /// The field.
        field: &'static str,
        /// Its value, or its length.
        value: u64,
        /// What it may be.
        allowed: &'static str,
    },
    /// A feature of the processor that this host can't give its guests.
    #[error(
        "vCPU {vcpu} has processor features that this host can't give it: bits {bits:#x} of {register} in CPUID \
         leaf {leaf:#x}; restore it on a host with the same processor, kernel and module parameters"
    )]
    CpuFeatures {
        /// Which vCPU, counted from 0.
        vcpu: u8,
        /// The CPUID leaf.
        leaf: u32,
        /// `eax`, `ebx`, `ecx` or `edx`.
        register: &'static str,
        /// The features.
        bits: u32,
    },
    /// The guest was told of something that this host's processors can't be asked for, or twice of the same.
    #[error(
        "vCPU {vcpu} has an answer to CPUID leaf {leaf:#x}, subleaf {subleaf:#x}, that this host can't give \
         it; restore it on a host with the same processor, kernel and module parameters"
    )]
    CpuLeaf {
        /// Which vCPU, counted from 0.
        vcpu: u8,
        /// The CPUID leaf.
        leaf: u32,
        /// The subleaf.
        subleaf: u32,
    },
    /// KVM refused a value.
    #[error("KVM could not {action} of {part}: the state is damaged, or of another host")]
    Kvm {
        /// `vCPU 0`, `the VM`.
        part: String,
        /// What was asked of it.
        action: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// A model-specific register that is no part of a state, or a value that KVM does not take.
    #[error("{part}: {value:#x} is refused for the model-specific register {index:#x}")]
    Msr {
        /// The vCPU.
        part: String,
        /// The register.
        index: u32,
        /// Its value in the state.
        value: u64,
    },
    /// The bytes of guest memory could not be read, or are too few.
    #[error("could not read the guest's {memory_mib} MiB of memory")]
    Memory {
        /// How much there should be.
        memory_mib: u32,
        /// What reading answered.
        source: io::Error,
    },
}

impl StateError {
    /// Compares what a state and a configuration say of a setting.
    pub(crate) fn compare<T: PartialEq + Display>(
        setting: impl Into<String>,
        state: T,
        config: T,
    ) -> Result<(), Self> {
        if state == config {
            return Ok(());
        }
        Err(Self::Differs {
            setting: setting.into(),
            state: state.to_string(),
            config: config.to_string(),
        })
    }
}

/// A field that is wrong, of a part that knows nothing of its name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FieldError {
    field: &'static str,
    value: u64,
    allowed: &'static str,
}

impl FieldError {
    pub(crate) fn new(field: &'static str, value: u64, allowed: &'static str) -> Self {
        Self {
            field,
            value,
            allowed,
        }
    }

    pub(crate) fn of(self, part: impl Into<String>) -> StateError {
        StateError::Invalid {
            part: part.into(),
            field: self.field,
            value: self.value,
            allowed: self.allowed,
        }
    }
}

/// Refuses `value` unless it `is_fine`.
pub(crate) fn check(
    field: &'static str,
    value: impl TryInto<u64>,
    is_fine: bool,
    allowed: &'static str,
) -> Result<(), FieldError> {
    if is_fine {
        return Ok(());
    }
    let value = value.try_into().unwrap_or(u64::MAX);
    Err(FieldError::new(field, value, allowed))
}
