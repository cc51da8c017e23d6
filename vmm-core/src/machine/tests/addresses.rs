//! Which device hears of an access, for all ports and addresses.

use proptest::prelude::*;

use super::*;
use crate::config::VmConfig;
use crate::vm::BareVm;

/// All ports that anything answers at.
fn is_known(port: u16) -> bool {
    matches!(port, 0x3f8..=0x3ff | 0x60 | 0x64 | 0x505 | 0x601 | 0x610..=0x615)
}

fn bare() -> BareVm {
    let mut config = VmConfig::new("");
    config.vsock_cid = Some(3);
    config.balloon = true;
    config.watchdog = true;
    BareVm::start(config, crate::memory::map(16).unwrap())
}

#[test]
fn ports_without_a_device_read_as_ones_and_three_ports_end_the_run() {
    let bare = bare();
    let machine = &bare.machine;
    for port in 0..=u16::MAX {
        for length in [1, 2, 4] {
            let mut data = [0; 4];
            machine.port_in(port, &mut data[..length]);
            if !is_known(port) {
                assert!(data[..length].iter().all(|byte| *byte == 0xff), "{port:#x}");
            }
            let ends = |value| machine.port_out(port, &[value; 4][..length]);
            for value in [0, 1, 0x34, 0xfe, 0xff] {
                let expected = match (port, value) {
                    (0x600, 0x34) => Some(PowerEvent::Off),
                    (0x602, 1) | (0x64, 0xfe) => Some(PowerEvent::Reset),
                    _ => None,
                };
                assert_eq!(ends(value), expected, "{value:#x} to {port:#x}");
            }
        }
    }
}

fn address() -> impl Strategy<Value = u64> {
    let devices = 4 * VIRTIO_MMIO_STRIDE;
    prop_oneof![
        any::<u64>(),
        VIRTIO_MMIO - 16..VIRTIO_MMIO + devices,
        (0u64..4, 0u64..16)
            .prop_map(|(window, near)| { VIRTIO_MMIO + window * VIRTIO_MMIO_STRIDE - 8 + near }),
        u64::MAX - 16..=u64::MAX,
    ]
}

#[test]
fn each_address_belongs_to_the_window_that_it_lies_in_and_to_no_other() {
    let bare = bare();
    let transports = bare.machine.transports();
    let windows = transports.len() as u64;
    proptest!(|(address in address(), length in prop::sample::select(vec![1usize, 2, 4, 8]))| {
        let (mut seen, mut expected) = ([0x5a; 8], [0xff; 8]);
        bare.machine.mmio_read(address, &mut seen[..length]);
        for (transport, window) in transports.iter().zip(0u64..) {
            let start = VIRTIO_MMIO + window * VIRTIO_MMIO_STRIDE;
            if (start..start + VIRTIO_MMIO_STRIDE).contains(&address) {
                transport.read(u32::try_from(address - start).unwrap(), &mut expected[..length]);
            }
        }
        prop_assert_eq!(&seen[..length], &expected[..length]);
        // What is written beside the windows, nobody hears.
        if !(VIRTIO_MMIO..VIRTIO_MMIO + windows * VIRTIO_MMIO_STRIDE).contains(&address) {
            bare.machine.mmio_write(address, &expected[..length]);
        }
    });
    assert!(bare.failure().is_none());
}
