//! Hostile drivers of all virtio devices, on the devices' own threads, in machines that are suspended and go on as
//! others. The first byte chooses the device.
//!
//! Oracles: no thread dies and turns end; each state is taken back, and is the same to the driver; what the device was
//! not given to write is as it was; nothing that an earlier driver sent is to be seen; an honest driver that takes over
//! gets what it asks for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmm_core::fuzzing::attack_device;

fuzz_target!(|bytes: &[u8]| attack_device(bytes));
