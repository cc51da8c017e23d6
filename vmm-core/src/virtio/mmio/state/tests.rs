use proptest::prelude::*;

use super::*;
use crate::state::StateError;
use crate::virtio::COMMON_FEATURES;

const ACTIVE: u32 = 1 | 2 | 4 | 8;
const NEEDS_RESET: u32 = VIRTIO_CONFIG_S_NEEDS_RESET;

fn info() -> DeviceInfo {
    DeviceInfo {
        id: 42,
        features: COMMON_FEATURES,
        queue_sizes: &[16, 8],
        config: Vec::new(),
    }
}

fn queue() -> QueueState {
    QueueState {
        size: 8,
        ready: true,
        descriptors: 0x1000,
        available: 0x2002,
        used: 0x3004,
        next_available: 7,
        next_used: 5,
    }
}

/// The state of a device that a driver works with.
fn active() -> TransportState {
    TransportState {
        device_features_sel: 1,
        driver_features_sel: 1,
        driver_features: COMMON_FEATURES,
        queue_sel: 1,
        status: ACTIVE,
        interrupt_status: 1,
        active: true,
        queues: vec![queue(), queue()],
    }
}

#[test]
fn states_that_drivers_bring_about_are_taken() {
    active().checked(&info()).unwrap();
    let mut idle = active();
    (idle.active, idle.status) = (false, 0);
    idle.checked(&info()).unwrap();
    // Features are what the driver likes until it asks whether they will do.
    idle.driver_features = u64::MAX;
    idle.checked(&info()).unwrap();
    let mut wrecked = active();
    wrecked.status |= NEEDS_RESET;
    wrecked.checked(&info()).unwrap();
    let mut given_up = active();
    given_up.status = 128 | ACTIVE;
    given_up.checked(&info()).unwrap();
    given_up.active = false;
    given_up.checked(&info()).unwrap();
}

#[test]
fn each_wrong_field_is_refused_by_its_name() {
    type Change = fn(&mut TransportState);
    let changes: [(Change, &str); 16] = [
        (|s| s.status = 1 | 2 | NEEDS_RESET, "status"),
        (|s| s.status = 1 | 2 | 8, "status"),
        (|s| s.driver_features |= 1 << 60, "driver_features"),
        (|s| s.driver_features = 0, "driver_features"),
        (|s| s.status = 0, "status"),
        (|s| s.active = false, "active"),
        (|s| (s.active, s.status) = (false, NEEDS_RESET), "status"),
        (|s| s.interrupt_status = 4, "interrupt_status"),
        (|s| s.queues.truncate(1), "the number of queues"),
        (|s| s.queues.push(queue()), "the number of queues"),
        (|s| s.queues[0].size = 0, "a queue's size"),
        (|s| s.queues[0].size = 12, "a queue's size"),
        (|s| s.queues[1].size = 16, "a queue's size"),
        (
            |s| s.queues[1].descriptors = 8,
            "a descriptor table's address",
        ),
        (|s| s.queues[0].available = 1, "an available ring's address"),
        (|s| s.queues[0].used = 2, "a used ring's address"),
    ];
    for (change, expected) in changes {
        let mut state = active();
        change(&mut state);
        let error = state.checked(&info()).unwrap_err().of("vm-test");
        let StateError::Invalid { part, field, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!((part.as_str(), field), ("vm-test", expected));
    }
}

proptest! {
    #[test]
    fn what_is_taken_is_what_was_in_the_state(
        size in any::<u16>(),
        ready in any::<bool>(),
        [descriptors, available, used] in any::<[u64; 3]>(),
        [next_available, next_used] in any::<[u16; 2]>(),
        [status, interrupt_status] in any::<[u32; 2]>(),
        driver_features in prop_oneof![any::<u64>(), Just(COMMON_FEATURES)],
        active in any::<bool>(),
    ) {
        let state = TransportState {
            queues: vec![
                QueueState { size, ready, descriptors, available, used, next_available, next_used },
                queue(),
            ],
            status,
            interrupt_status: interrupt_status & 3,
            driver_features,
            active,
            ..self::active()
        };
        if let Ok(checked) = state.checked(&info()) {
            let queue = QueueState::from(checked.registers.queues[0].state());
            prop_assert_eq!(queue, state.queues[0]);
            prop_assert!(size.is_power_of_two() && size <= 16);
            prop_assert_eq!(checked.status, status);
            prop_assert!(!active || driver_features & !info().features == 0);
        }
    }
}
