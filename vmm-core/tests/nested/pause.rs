//! Pausing a guest that has clocks and detectors of hanging processors.

use std::thread;
use std::time::Duration;

use vmm_core::{Exit, Vm};

use super::machine::{Screen, config, end};

const PAUSE: Duration = Duration::from_secs(12);

#[test]
fn a_paused_guest_notices_nothing() {
    let screen = Screen::default();
    let mut config = config(
        "echo 5 >/proc/sys/kernel/watchdog_thresh\n\
         before=$(cut -d. -f1 /proc/uptime); echo waiting; sleep 3\n\
         after=$(cut -d. -f1 /proc/uptime); echo took $((after - before))\n\
         dmesg | grep -i -E 'lockup|stall|unstable'; echo done; poweroff -f",
        &screen,
    );
    config.vcpus = 2;
    let vm = Vm::start(config).unwrap();
    screen.wait_for("waiting\n");
    vm.pause();
    thread::sleep(PAUSE);
    assert!(!screen.text().contains("took"));
    vm.resume();
    assert!(matches!(end(&vm, &screen), Exit::PowerOff));
    let text = screen.text();
    for word in ["lockup", "stall", "unstable"] {
        assert!(!text.contains(word), "{text}");
    }
    let took = text.split("took ").nth(1).unwrap().split('\n').next();
    let took: u64 = took.unwrap().parse().unwrap();
    assert!((3..8).contains(&took), "{took} s passed in the guest");
}
