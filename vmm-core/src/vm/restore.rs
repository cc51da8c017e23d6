//! Putting a VM's state into a new VM.
//!
//! Invariant: nothing of a state has an effect outside of the VM before all of it that can be checked has
//! been.

use std::io::Read;

use kvm_bindings::kvm_clock_data;
use kvm_ioctls::VmFd;

use super::devices::{Device, Source};
use crate::config::VmConfig;
use crate::machine::{Machine, SerialState, WatchdogState};
use crate::memory::{self, Memory};
use crate::state::{DeviceKindState, DeviceState, StateError, VmState};
use crate::vcpu::{self, CpuidTemplate, Vcpu};
use crate::virtio::{CheckedRegisters, MmioTransport};

/// What a VM is to go on from.
pub(super) struct Restore<'a> {
    pub(super) state: &'a VmState,
    pub(super) memory: &'a mut dyn Read,
}

impl Restore<'_> {
    /// Checks that the state is one of the machine that `config` describes and `devices` are made for.
    pub(super) fn check(
        &self,
        config: &VmConfig,
        devices: &[Device],
    ) -> Result<Vec<CheckedRegisters>, StateError> {
        let state = self.state;
        StateError::compare("memory_mib", state.memory_mib, config.memory_mib)?;
        let vcpus = usize::from(config.vcpus);
        StateError::compare("vcpus", state.vcpus.len(), vcpus)?;
        StateError::compare("watchdog", state.watchdog.is_some(), config.watchdog)?;
        let watchdog = state.watchdog.as_ref();
        check_devices(&state.serial, watchdog, &state.devices, devices)
    }

    /// Fills the memory, and makes the vCPUs and what KVM has besides them.
    pub(super) fn fill(
        &mut self,
        vm: &VmFd,
        memory: &Memory,
        supported: &CpuidTemplate,
        msr_indices: &[u32],
    ) -> Result<Vec<Vcpu>, StateError> {
        let state = self.state;
        memory::copy_in(memory, self.memory).map_err(|source| StateError::Memory {
            memory_mib: state.memory_mib,
            source,
        })?;
        // A configuration has no more than 32, and as many.
        let count = u8::try_from(state.vcpus.len()).unwrap_or(u8::MAX);
        let vcpus = (0..count)
            .zip(&state.vcpus)
            .map(|(id, saved)| vcpu::restore(vm, supported, saved, msr_indices, id, count))
            .collect::<Result<_, _>>()?;
        // Behind the vCPUs: what waits in a controller may go to their local APICs at once.
        state
            .interrupt_controllers
            .write(vm)
            .map_err(failed("set the interrupt controllers"))?;
        vm.set_pit2(&state.timer)
            .map_err(failed("set the interval timer"))?;
        if let Some(clock) = state.clock_ns {
            // Without the flags, which would have KVM add the time that has passed.
            let clock = kvm_clock_data {
                clock,
                ..Default::default()
            };
            vm.set_clock(&clock).map_err(failed("set the clock"))?;
        }
        Ok(vcpus)
    }

    /// Lets the devices go on, which may touch guest memory and interrupt vCPUs from now on.
    pub(super) fn go_on(
        self,
        machine: &Machine,
        sources: &[Source],
        checked: Vec<CheckedRegisters>,
    ) {
        let state = self.state;
        machine.take_over(&state.marks, state.watchdog.as_ref());
        take_over_devices(&state.devices, sources, machine.transports(), checked);
    }
}

fn failed(action: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> StateError {
    move |error| StateError::Kvm {
        part: "the VM".to_owned(),
        action,
        source: error.into(),
    }
}

/// Checks the state of all that is not KVM's.
pub(super) fn check_devices(
    serial: &SerialState,
    watchdog: Option<&WatchdogState>,
    saved: &[DeviceState],
    devices: &[Device],
) -> Result<Vec<CheckedRegisters>, StateError> {
    if let Some(watchdog) = watchdog {
        watchdog.check().map_err(|error| error.of("watchdog"))?;
    }
    serial.check().map_err(|error| error.of("serial port"))?;
    StateError::compare("devices", saved.len(), devices.len())?;
    let pairs = saved.iter().zip(devices);
    pairs.map(|(saved, device)| check(saved, device)).collect()
}

/// Lets virtio devices go on from states that were checked, and tells drivers what has changed meanwhile.
pub(super) fn take_over_devices(
    saved: &[DeviceState],
    sources: &[Source],
    transports: &[MmioTransport],
    checked: Vec<CheckedRegisters>,
) {
    for (saved, source) in saved.iter().zip(sources) {
        source.take_over(&saved.kind);
    }
    for (transport, checked) in transports.iter().zip(checked) {
        transport.take_over(checked);
    }
    for (saved, source) in saved.iter().zip(sources) {
        source.tell_changes(&saved.kind);
    }
}

/// Checks that `saved` is a state of `device`.
fn check(saved: &DeviceState, device: &Device) -> Result<CheckedRegisters, StateError> {
    let name = device.name();
    match (&saved.kind, device.source()) {
        (DeviceKindState::Block(saved), Source::Block { state, .. }) => {
            saved.check_fit(state, name)?;
        }
        (DeviceKindState::Net(saved), Source::Net { state, .. }) => saved.check_fit(state, name)?,
        (DeviceKindState::Vsock(saved), Source::Vsock { state, .. }) => {
            StateError::compare("vsock_cid", saved.guest_cid, state.guest_cid)?;
        }
        (DeviceKindState::Balloon(_), Source::Balloon(_))
        | (DeviceKindState::Entropy, Source::Entropy) => {}
        (saved, source) => {
            let place = format!("the device in the place of {name}");
            StateError::compare(place, saved.name(), source.save().name())?;
        }
    }
    let checked = saved.transport.checked(device.info());
    checked.map_err(|error| error.of(name))
}

impl DeviceKindState {
    fn name(&self) -> &'static str {
        match self {
            Self::Block(_) => "a drive",
            Self::Net(_) => "a network device",
            Self::Vsock(_) => "vsock",
            Self::Balloon(_) => "a balloon",
            Self::Entropy => "entropy",
        }
    }
}

impl Source {
    /// Takes over a state that was checked to be of this kind.
    fn take_over(&self, saved: &DeviceKindState) {
        match (self, saved) {
            (Self::Block { limiter, space, .. }, DeviceKindState::Block(saved)) => {
                space.set_writeback(saved.writeback);
                limiter.take_over(&saved.limiter);
            }
            (
                Self::Net {
                    receive_limiter,
                    transmit_limiter,
                    ..
                },
                DeviceKindState::Net(saved),
            ) => {
                receive_limiter.take_over(&saved.receive_limiter);
                transmit_limiter.take_over(&saved.transmit_limiter);
            }
            (Self::Vsock { shared, .. }, DeviceKindState::Vsock(_)) => shared.owe_transport_reset(),
            (Self::Balloon(balloon), DeviceKindState::Balloon(saved)) => balloon.take_over(saved),
            _ => {}
        }
    }

    /// Tells a driver, whose registers are back, what is not as it was.
    fn tell_changes(&self, saved: &DeviceKindState) {
        if let (Self::Net { link, .. }, DeviceKindState::Net(saved)) = (self, saved) {
            link.take_over(saved.link_up, saved.config_generation);
        }
    }
}
