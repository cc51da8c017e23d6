//! The devices of a machine without KVM, which take over a state.

use std::time::Instant;

use crate::config::VmConfig;
use crate::memory;
use crate::state::{DeviceState, MarksState, SerialState, StateError, WatchdogState};
use crate::vm::{BareState, BareVm};

/// What devices made of a state.
#[derive(Debug, PartialEq)]
pub struct TakenOver {
    /// The virtio devices.
    pub devices: Vec<DeviceState>,
    /// The serial port.
    pub serial: SerialState,
    /// The watchdog.
    pub watchdog: WatchdogState,
}

impl TakenOver {
    /// Has the devices of `config`, and a watchdog, take over `saved`, work, stand still, and say what they are now.
    ///
    /// # Errors
    /// What is wrong with `saved`.
    ///
    /// # Panics
    /// If the configuration is wrong, the host has no memory, descriptors or threads, or a device's thread ends.
    pub fn of(mut config: VmConfig, saved: &Self) -> Result<Self, StateError> {
        config.watchdog = true;
        let memory = memory::map(config.memory_mib).expect("the host has memory");
        let saved = BareState {
            devices: saved.devices.clone(),
            serial: saved.serial.clone(),
            watchdog: Some(saved.watchdog),
            marks: MarksState::default(),
        };
        let now = Instant::now();
        let machine = BareVm::restore(config, memory, &saved, now)?;
        let again = machine.save(now);
        let failure = machine.failure();
        assert!(failure.is_none(), "a device ended the run: {failure:?}");
        Ok(Self {
            devices: again.devices,
            serial: again.serial,
            watchdog: again.watchdog.expect("there is a watchdog"),
        })
    }
}
