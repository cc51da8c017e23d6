//! Booting, and the ways out.

use std::time::Instant;

use vmm_core::{BootProtocol, Exit, Kernel, Vm};

use super::initramfs::env;
use super::machine::{Screen, config, end};

#[test]
fn a_guest_sees_its_machine_and_powers_off() {
    let screen = Screen::default();
    let mut config = config(
        "echo cpus $(grep -c ^processor /proc/cpuinfo)\n\
         echo cores $(grep -m1 'cpu cores' /proc/cpuinfo | cut -d: -f2)\n\
         echo apics $(grep ^apicid /proc/cpuinfo | cut -d: -f2)\n\
         echo threads $(cat /sys/devices/system/cpu/cpu1/topology/thread_siblings_list)\n\
         echo hidden $(grep -m1 ^flags /proc/cpuinfo | grep -c -w -E 'svm|vmx|monitor|mwaitx|rtm|perfctr_core')\n\
         echo clock $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)\n\
         echo random $(head -c 16 /dev/hwrng | wc -c)\n\
         echo ports $(ls -d /sys/class/tty/ttyS*/device/driver/module 2>/dev/null | wc -l)\n\
         dmesg | grep -i -E 'error|fail|bug|warn' | grep -v -i -E 'spectre|retbleed|srso|mds|mmio stale'\n\
         echo done; poweroff -f",
        &screen,
    );
    config.vcpus = 2;
    let begun = Instant::now();
    let vm = Vm::start(config).unwrap();
    let started = begun.elapsed();
    screen.wait_for("up ");
    println!("start {started:?}, init after {:?}", begun.elapsed());
    assert!(matches!(end(&vm, &screen), Exit::PowerOff));
    let text = screen.text();
    println!("{text}");
    for line in [
        "cpus 2\n",
        "cores 2\n",
        "apics 0 1\n",
        "threads 1\n",
        "hidden 0\n",
        "clock kvm-clock\n",
        "random 16\n",
        "done\n",
    ] {
        assert!(text.contains(line), "no {line:?} in:\n{text}");
    }
}

#[test]
fn all_of_several_processors_work() {
    let screen = Screen::default();
    let mut config = config(
        "echo online $(cat /sys/devices/system/cpu/online)\n\
         for cpu in 0 1; do taskset $((1 << cpu)) sh -c \"echo works $cpu\"; done\n\
         reboot -f",
        &screen,
    );
    config.vcpus = 2;
    config.command_line.push_str(" reboot=t");
    let vm = Vm::start(config).unwrap();
    assert!(matches!(end(&vm, &screen), Exit::Reboot));
    let text = screen.text();
    for line in ["online 0-1", "works 0", "works 1"] {
        assert!(
            text.contains(&format!("{line}\n")),
            "no {line:?} in:\n{text}"
        );
    }
}

#[test]
fn a_reboot_ends_the_run() {
    let screen = Screen::default();
    let vm = Vm::start(config("reboot -f", &screen)).unwrap();
    assert!(matches!(end(&vm, &screen), Exit::Reboot));
}

#[test]
fn a_reboot_by_any_other_way_ends_the_run() {
    for way in ["reboot=b", "reboot=k", "reboot=t"] {
        let screen = Screen::default();
        let mut config = config("reboot -f", &screen);
        config.command_line.push_str(&format!(" {way}"));
        let vm = Vm::start(config).unwrap();
        assert!(matches!(end(&vm, &screen), Exit::Reboot));
    }
}

#[test]
fn a_panic_ends_the_run_as_a_reboot() {
    let screen = Screen::default();
    let vm = Vm::start(config("exit 1", &screen)).unwrap();
    assert!(matches!(end(&vm, &screen), Exit::Reboot));
    assert!(screen.text().contains("Attempted to kill init"));
}

#[test]
fn a_kernel_that_has_to_unpack_itself_boots() {
    let mut kernel = std::fs::read(env("VM_TEST_KERNEL")).unwrap();
    // Without a payload length in its header, the host can't unpack the kernel; it doesn't need it itself.
    kernel[0x24c..0x250].fill(0);
    let dir = tempfile::tempdir().unwrap();
    let screen = Screen::default();
    let mut config = config("poweroff -f", &screen);
    let path = dir.path().join("vmlinuz");
    std::fs::write(&path, kernel).unwrap();
    config.kernel = path.into();
    let vm = Vm::start(config).unwrap();
    assert!(matches!(end(&vm, &screen), Exit::PowerOff));
}

#[test]
fn a_kernel_boots_by_the_pvh_protocol() {
    let screen = Screen::default();
    let mut config = config("head -c 9 /proc/cmdline; poweroff -f", &screen);
    config.boot_protocol = BootProtocol::Pvh;
    config.memory_mib = 3584;
    config.vcpus = 2;
    let vm = Vm::start(config).unwrap();
    assert!(matches!(end(&vm, &screen), Exit::PowerOff));
    assert!(screen.text().contains("console=t"), "{}", screen.text());
}

#[test]
fn a_kernel_that_was_opened_once_starts_many_guests() {
    let kernel = Kernel::open(env("VM_TEST_KERNEL")).unwrap();
    for _ in 0..2 {
        let screen = Screen::default();
        let mut config = config("echo started; poweroff -f", &screen);
        config.kernel = kernel.clone().into();
        let vm = Vm::start(config).unwrap();
        assert!(matches!(end(&vm, &screen), Exit::PowerOff));
        assert!(screen.text().contains("started\n"), "{}", screen.text());
    }
}

#[test]
fn memory_above_the_device_hole_is_used() {
    let screen = Screen::default();
    let mut config = config("grep MemTotal /proc/meminfo; poweroff -f", &screen);
    config.memory_mib = 3584;
    let vm = Vm::start(config).unwrap();
    assert!(matches!(end(&vm, &screen), Exit::PowerOff));
    let text = screen.text();
    let total = text.split("MemTotal:").nth(1).unwrap().split_whitespace();
    let kib: u64 = total.map_while(|word| word.parse().ok()).next().unwrap();
    assert!(kib > 3200 << 10, "{kib} KiB");
}

#[test]
fn two_guests_run_at_once() {
    let (first, second) = (Screen::default(), Screen::default());
    let a = Vm::start(config("echo one; sleep 1000", &first)).unwrap();
    let b = Vm::start(config("echo two; poweroff -f", &second)).unwrap();
    assert!(matches!(end(&b, &second), Exit::PowerOff));
    first.wait_for("one\n");
    a.stop();
    assert!(matches!(end(&a, &first), Exit::Stopped));
    assert!(!first.text().contains("two"));
}
