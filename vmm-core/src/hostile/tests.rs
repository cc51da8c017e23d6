use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::*;

/// Cases for each device, where the environment (`PROPTEST_CASES`) does not say how many.
const CASES: u32 = 96;
const MAX_BYTES: usize = 12_000;

/// Without a wish for more cases, the same ones every time.
fn survives(device: Device) {
    let wish = std::env::var_os("PROPTEST_CASES");
    let config = ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 500,
        ..match wish {
            Some(_) => ProptestConfig::default(),
            None => ProptestConfig::with_cases(CASES),
        }
    };
    let mut runner = match wish {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    let bytes = prop::collection::vec(any::<u8>(), 0..MAX_BYTES);
    let result = runner.run(&bytes, |bytes| {
        attack(device, &bytes);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn a_disk_survives_hostile_drivers() {
    survives(Device::Block);
}

#[test]
fn a_read_only_disk_survives_hostile_drivers_unchanged() {
    survives(Device::ReadOnlyBlock);
}

#[test]
fn a_network_device_at_a_switch_survives_hostile_drivers() {
    survives(Device::NetOnSwitch);
}

#[test]
fn a_network_device_at_a_socket_survives_hostile_drivers() {
    survives(Device::NetOnSocket);
}

#[test]
fn a_vsock_device_survives_hostile_drivers() {
    survives(Device::Vsock);
}

#[test]
fn a_vsock_device_with_sockets_survives_hostile_drivers() {
    survives(Device::VsockWithSockets);
}

#[test]
fn a_balloon_survives_hostile_drivers() {
    survives(Device::Balloon);
}

#[test]
fn the_entropy_device_survives_hostile_drivers() {
    survives(Device::Entropy);
}

#[test]
fn a_driver_that_only_sets_its_device_up_does_no_harm() {
    for device in Device::ALL {
        attack(device, &[]);
    }
}
