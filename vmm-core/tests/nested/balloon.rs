//! Memory that a guest gives back.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use vmm_core::{Exit, Vm};

use super::machine::{PATIENCE, Screen, config, end};

/// Resident memory of this process, in MiB: the guest's is most of it.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() >> 10
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what} does not come true");
        thread::sleep(Duration::from_millis(100));
    }
}

/// The number behind the last `name` on the screen.
fn number(screen: &Screen, name: &str) -> u64 {
    let text = screen.text();
    let rest = text.rsplit(name).next().unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn what_a_guest_frees_goes_to_the_host_and_so_does_what_is_asked_for() {
    let screen = Screen::default();
    let mut config = config(
        "load virtio_balloon\n\
         free() { echo $1 $(grep MemFree /proc/meminfo | tr -dc 0-9); }\n\
         dd if=/dev/zero of=/big bs=1M count=100 2>/dev/null; echo filled\n\
         read line </dev/ttyS0; rm /big; echo removed\n\
         read line </dev/ttyS0; free before\n\
         read line </dev/ttyS0; free inflated\n\
         read line </dev/ttyS0; free deflated; poweroff -f",
        &screen,
    );
    config.balloon = true;
    let vm = Vm::start(config).unwrap();
    let mut keyboard = vm.console_input();
    let mut go_on = |until: &str| {
        keyboard.write_all(b"\n").unwrap();
        screen.wait_for(until);
        thread::sleep(Duration::from_millis(500));
    };
    screen.wait_for("filled\n");
    let filled = resident_mib();
    go_on("removed\n");
    wait_until("that the host gets 80 MiB", || resident_mib() + 80 < filled);
    println!("{filled} MiB, then {}", resident_mib());
    go_on("before ");
    assert_eq!(vm.balloon_mib(), Some(0));
    vm.set_balloon_mib(64).unwrap();
    wait_until("that 64 MiB are given", || vm.balloon_mib() == Some(64));
    go_on("inflated ");
    vm.set_balloon_mib(0).unwrap();
    wait_until("that they are taken back", || vm.balloon_mib() == Some(0));
    go_on("deflated ");
    assert!(matches!(end(&vm, &screen), Exit::PowerOff));
    let before = number(&screen, "before ");
    let inflated = number(&screen, "inflated ");
    let deflated = number(&screen, "deflated ");
    assert!(inflated + (56 << 10) < before, "{inflated} of {before} KiB");
    assert!(
        deflated > inflated + (56 << 10),
        "{deflated} after {inflated}"
    );
}
