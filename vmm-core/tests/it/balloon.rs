//! Balloons whose driver is a few instructions.

use std::time::{Duration, Instant};

use vmm_core::{BalloonError, Vm};

use super::guest::{Screen, config, elf, file, spin, write32};
use super::lifecycle::TURN;

const SOON: Duration = Duration::from_secs(20);
/// `actual` of the first virtio-mmio device's configuration space.
const ACTUAL: u64 = 0xd000_0104;

#[test]
fn the_owner_asks_within_reason_and_hears_what_the_guest_says_within_reason() {
    let _turn = TURN.lock();
    for (says_pages, heard_mib) in [(2048, 8), (u32::MAX, 64)] {
        let (_dir, path) = file(&elf(&[write32(ACTUAL, says_pages), spin()]));
        let mut config = config(path, &Screen::default());
        config.balloon = true;
        let vm = Vm::start(config).unwrap();
        vm.set_balloon_mib(64).unwrap();
        let error = vm.set_balloon_mib(65).unwrap_err();
        assert!(matches!(error, BalloonError::TooLarge { .. }));
        assert!(error.to_string().contains("65 MiB"), "{error}");
        let begun = Instant::now();
        while vm.balloon_mib() != Some(heard_mib) {
            assert!(begun.elapsed() < SOON, "{:?}", vm.balloon_mib());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn without_a_balloon_there_is_nothing_to_set() {
    let _turn = TURN.lock();
    let (_dir, path) = file(&elf(&[spin()]));
    let vm = Vm::start(config(path, &Screen::default())).unwrap();
    assert_eq!(vm.balloon_mib(), None);
    let error = vm.set_balloon_mib(0).unwrap_err();
    assert!(matches!(error, BalloonError::NoBalloon));
}
