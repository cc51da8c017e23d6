//! Beginnings of requests that a device may understand, with numbers that it should not believe.

use super::super::Device;
use super::super::peer::{DISK_SECTORS, PORT};
use super::{BUFFERS, Choices};
use crate::config::MIN_GUEST_CID;
use crate::layout::MMIO_GAP_END;
use crate::vsock::HOST_CID;

const PAGE_BITS: u32 = 12;

pub(super) fn head(device: Device, choices: &mut Choices) -> Vec<u8> {
    match device {
        Device::Block | Device::ReadOnlyBlock => disk_request(choices),
        Device::NetOnSwitch | Device::NetOnSocket => frame(choices),
        Device::Vsock | Device::VsockWithSockets => packet(choices),
        Device::Balloon => page_numbers(choices),
        Device::Entropy => vec![choices.byte(); 16],
    }
}

/// Lengths of the parts of a request that begins with `head` bytes, and whether the device writes them.
pub(super) fn shape(
    device: Device,
    queue: usize,
    head: usize,
    choices: &mut Choices,
) -> Vec<(u32, bool)> {
    let head = (u32::try_from(head).unwrap_or(0), false);
    let mut shape = match (device, queue) {
        (Device::Block | Device::ReadOnlyBlock, _) => {
            let mut shape = vec![head];
            let is_writable = choices.once_in(2);
            for _ in 0..choices.below(4) {
                shape.push((choices.of(&[512, 512, 1024, 256, 4096]), is_writable));
            }
            shape.push((1, true));
            shape
        }
        (Device::NetOnSwitch | Device::NetOnSocket, 0) => {
            let length = choices.of(&[2048, 1526, 12, 13, 100, 1, 0]);
            vec![(length, true)]
        }
        (Device::NetOnSwitch | Device::NetOnSocket, _) => {
            vec![head, (choices.of(&[0, 1, 46, 1500, 1501, 8192]), false)]
        }
        (Device::Vsock | Device::VsockWithSockets, 1) => {
            vec![head, (choices.of(&[0, 1, 100, 0x1_0000]), false)]
        }
        (Device::Vsock | Device::VsockWithSockets, _) => {
            vec![(choices.of(&[4096, 45, 44, 100, 0x1_0000]), true)]
        }
        (Device::Balloon, 2) => {
            let lengths = (0..=choices.below(4)).map(|_| choices.of(&[0x1000, 0x3000, 0xfff]));
            lengths.map(|length| (length, true)).collect()
        }
        (Device::Balloon, _) => vec![head],
        (Device::Entropy, _) => vec![(choices.of(&[64, 1, 0, 4096, 4097]), true)],
    };
    // Some are cut where no driver would cut them.
    if let Some((length, is_writable)) = shape.pop() {
        let cut = u32::from(choices.below(16)).min(length);
        shape.extend([(cut, is_writable), (length - cut, is_writable)]);
    }
    shape
}

fn sector(choices: &mut Choices) -> u64 {
    match choices.below(6) {
        0 => choices.of(&[DISK_SECTORS - 1, DISK_SECTORS, u64::MAX >> 9, u64::MAX]),
        _ => u64::from(choices.below(16)),
    }
}

/// Type, reserved, sector; then ranges to discard.
fn disk_request(choices: &mut Choices) -> Vec<u8> {
    let kind: u32 = choices.of(&[0, 0, 1, 1, 4, 8, 11, 13, 2, u32::MAX]);
    let mut bytes = u64::from(kind).to_le_bytes().to_vec();
    bytes.extend(sector(choices).to_le_bytes());
    for _ in 0..choices.below(4) {
        bytes.extend(sector(choices).to_le_bytes());
        let sectors: u32 = choices.of(&[0, 1, 2, 16, 17, u32::MAX]);
        bytes.extend(sectors.to_le_bytes());
        bytes.extend(choices.of(&[0u32, 1, 2, u32::MAX]).to_le_bytes());
    }
    bytes
}

/// The device's header, then that of an Ethernet frame.
fn frame(choices: &mut Choices) -> Vec<u8> {
    let mut bytes = vec![0; 12];
    if choices.once_in(4) {
        bytes.fill_with(|| choices.byte());
    }
    bytes.extend([if choices.once_in(2) { 0xff } else { 0x02 }; 6]);
    bytes.extend([choices.byte(); 6]);
    bytes.extend([0x08, 0x00]);
    bytes
}

/// The header of a vsock packet, most of them of connections that there may be.
fn packet(choices: &mut Choices) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (guest, host) = (u64::from(MIN_GUEST_CID), u64::from(HOST_CID));
    let is_odd = choices.once_in(4);
    let (source, target) = match is_odd {
        true => (
            choices.of(&[guest, host, u64::MAX]),
            choices.of(&[host, guest, 0]),
        ),
        false => (guest, host),
    };
    bytes.extend(source.to_le_bytes());
    bytes.extend(target.to_le_bytes());
    let source = choices.of(&[1u32, 1, 1, 2, u32::MAX]);
    bytes.extend(source.to_le_bytes());
    let target = if is_odd {
        choices.of(&[PORT, 1, 2, u32::MAX])
    } else {
        PORT
    };
    bytes.extend(target.to_le_bytes());
    let length: u32 = choices.of(&[0, 0, 1, 100, 0x1_0000, 0x1_0001, u32::MAX]);
    bytes.extend(length.to_le_bytes());
    bytes.extend(if is_odd { choices.u16() } else { 1 }.to_le_bytes());
    bytes.extend(choices.below(9).to_le_bytes());
    let flags = if is_odd {
        choices.u32()
    } else {
        u32::from(choices.below(4))
    };
    bytes.extend(flags.to_le_bytes());
    for _ in 0..2 {
        bytes.extend(choices.of(&[0u32, 1, 0x1_0000, u32::MAX]).to_le_bytes());
    }
    bytes
}

fn page_numbers(choices: &mut Choices) -> Vec<u8> {
    let page = |address: u64| u32::try_from(address >> PAGE_BITS).unwrap_or(u32::MAX);
    (0..=choices.below(40))
        .flat_map(|_| {
            let number = match choices.below(4) {
                0 => page(MMIO_GAP_END) + u32::from(choices.below(17)),
                1 => choices.u32(),
                _ => page(BUFFERS) + u32::from(choices.below(48)),
            };
            number.to_le_bytes()
        })
        .collect()
}
