//! A state that somebody has tampered with, for the devices of a VM.
//!
//! Oracles: no device panics or ends the run; what a device takes over it has afterwards, but for a driver's queues
//! that are of no use, which it asks to be reset for, and for what it did when it went on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use vmm_core::fuzzing::TakenOver;
use vmm_core::state::{DeviceKindState, DeviceState, LimiterState, SerialState, WatchdogState};

#[path = "../all_devices.rs"]
mod all_devices;

/// Bits of a status and of an interrupt status by which a device asks for a reset.
const NEEDS_RESET: u32 = 64;
const CONFIG_CHANGED: u32 = 2;

/// What is in a seed.
#[derive(Deserialize)]
struct Document {
    devices: Vec<DeviceState>,
    serial: SerialState,
    watchdog: WatchdogState,
}

/// The same, of a device that has no limits and a link, as those here.
fn as_here(mut kind: DeviceKindState) -> DeviceKindState {
    match &mut kind {
        DeviceKindState::Block(block) => block.limiter = LimiterState::default(),
        DeviceKindState::Net(net) => {
            net.receive_limiter = LimiterState::default();
            net.transmit_limiter = LimiterState::default();
            if !std::mem::replace(&mut net.link_up, true) {
                net.config_generation = net.config_generation.wrapping_add(1);
            }
        }
        _ => {}
    }
    kind
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(document) = serde_json::from_slice::<Document>(bytes) else {
        return;
    };
    let saved = TakenOver {
        devices: document.devices,
        serial: document.serial,
        watchdog: document.watchdog,
    };
    let Ok(again) = TakenOver::of(all_devices::config(), &saved) else {
        return;
    };
    assert_eq!(again.watchdog, saved.watchdog);
    let input = |serial: &SerialState| [serial.received.clone(), serial.input.clone()].concat();
    assert_eq!(input(&again.serial), input(&saved.serial));
    for (mut again, mut saved) in again.devices.into_iter().zip(saved.devices) {
        assert_eq!(again.kind, as_here(saved.kind));
        let (again, saved) = (&mut again.transport, &mut saved.transport);
        if saved.active {
            // The device may have found requests, or a queue that is none.
            for state in [&mut *again, &mut *saved] {
                state.status &= !NEEDS_RESET;
                state.interrupt_status &= !(CONFIG_CHANGED | 1);
                state.queues.clear();
            }
        }
        assert_eq!(again, saved);
    }
});
