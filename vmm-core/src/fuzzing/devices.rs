//! Hostile drivers of each device.

use crate::hostile::{Device, attack};

/// Has a hostile driver do what the bytes after the first one say to a device, which that one chooses.
///
/// # Panics
/// If the device does anything that it should not, or the host has no descriptors, threads or memory.
pub fn attack_device(bytes: &[u8]) {
    if let Some((device, bytes)) = bytes.split_first() {
        attack(Device::ALL[usize::from(*device) % Device::ALL.len()], bytes);
    }
}
