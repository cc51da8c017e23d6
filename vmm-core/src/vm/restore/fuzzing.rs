//! The devices of a machine that has no KVM, which take over a state.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::check;
use crate::balloon::SharedBalloon;
use crate::config::VmConfig;
use crate::event::Events;
use crate::machine::{SerialPort, SerialState, Watchdog, WatchdogState};
use crate::memory;
use crate::state::{DeviceState, StateError};
use crate::vm::Outcome;
use crate::vm::devices::{devices, start_device};
use crate::vsock::Shared;

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
    /// Has the devices of `config` take over `saved`, work, stand still, and say what they are now.
    ///
    /// # Errors
    /// What is wrong with `saved`.
    ///
    /// # Panics
    /// If the host has no memory, descriptors or threads, or a device's thread ends.
    pub fn of(mut config: VmConfig, saved: &Self) -> Result<Self, StateError> {
        const HAS_ALL: &str = "the host has memory, descriptors and threads";
        let memory = memory::map(config.memory_mib).expect(HAS_ALL);
        let outcome = Arc::new(Outcome::default());
        let vsock = config.vsock_cid.map(|cid| Shared::new(cid).expect(HAS_ALL));
        let balloon = config.balloon.then(SharedBalloon::default);
        let devices = devices(
            &mut config,
            &Arc::new(AtomicBool::new(false)),
            vsock.as_ref(),
            balloon.as_ref(),
            &Events::new(None),
        )
        .expect(HAS_ALL);
        let of_serial = |error: crate::state::FieldError| error.of("serial port");
        saved.serial.check().map_err(of_serial)?;
        let of_watchdog = |error: crate::state::FieldError| error.of("watchdog");
        saved.watchdog.check().map_err(of_watchdog)?;
        StateError::compare("devices", saved.devices.len(), devices.len())?;
        let pairs = saved.devices.iter().zip(&devices);
        let checked: Vec<_> = pairs
            .map(|(saved, device)| check(saved, device))
            .collect::<Result<_, _>>()?;

        let line = Arc::new(EventFd::new(EFD_NONBLOCK).expect(HAS_ALL));
        let serial = SerialPort::restored(Box::new(std::io::sink()), line, &saved.serial);
        let watchdog = Watchdog::new(Box::new(|| {}));
        let now = Instant::now();
        watchdog.take_over(&saved.watchdog, now);
        let (mut threads, mut states) = (Vec::new(), Vec::new());
        for ((device, saved), checked) in devices.into_iter().zip(&saved.devices).zip(checked) {
            let source = device.source().clone();
            let (transport, started) =
                start_device(&memory, &outcome, device, &mut threads).expect(HAS_ALL);
            started.expect(HAS_ALL);
            source.take_over(&saved.kind);
            transport.take_over(checked);
            let worker = transport.worker().pause().wait(|| false).expect(HAS_ALL);
            states.push(DeviceState {
                transport: transport.save(&worker),
                kind: source.save(),
            });
            drop(worker);
            transport.worker().stop();
        }
        for thread in threads {
            thread.join().expect("a device's thread does not panic");
        }
        assert!(!outcome.wait_for_end(Some(now)), "no device ends the run");
        Ok(Self {
            devices: states,
            serial: serial.expect(HAS_ALL).save(),
            watchdog: watchdog.save(now),
        })
    }
}
