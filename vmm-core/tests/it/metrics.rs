//! What a VM counts.

use std::thread;
use std::time::{Duration, Instant};

use vmm_core::{Drive, Exit, Metrics, Vm, VmHandle};

use super::disk::{FailingDisk, MemoryDisk, set_up, wait_for_the_disk, write_sector};
use super::guest::{Screen, config, elf, file, out, print, spin, write32};
use super::lifecycle::{TURN, assert_left, possessions};

const SOON: Duration = Duration::from_secs(20);
const DEVICE: u64 = 0xd000_0000;
const DESCRIPTORS: u64 = 0x200_0000;
const AVAILABLE: u64 = DESCRIPTORS + 0x1000;

fn power_off() -> Vec<u8> {
    out(0x600, 5 << 2 | 1 << 5)
}

/// Starts a guest of these parts with a drive.
fn start(drive: Drive, parts: &[Vec<u8>]) -> Vm {
    let (_dir, path) = file(&elf(parts));
    let mut config = config(path, &Screen::default());
    config.drives = vec![drive];
    Vm::start(config).unwrap()
}

/// What a guest has done that ends by itself.
fn of_a_run(drive: Drive, parts: &[Vec<u8>]) -> Metrics {
    let vm = start(drive, parts);
    let exit = vm.wait_timeout(SOON);
    assert!(matches!(exit, Some(Exit::PowerOff)), "{exit:?}");
    vm.metrics()
}

fn wait_until(vm: &VmHandle, what: impl Fn(&Metrics) -> bool) -> Metrics {
    let end = Instant::now() + SOON;
    loop {
        let metrics = vm.metrics();
        if what(&metrics) {
            return metrics;
        }
        assert!(Instant::now() < end, "{metrics:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn each_exit_and_each_request_is_counted_once() {
    let _turn = TURN.lock();
    let parts = [
        set_up(),
        write_sector(),
        wait_for_the_disk(),
        print("abc"),
        power_off(),
        spin(),
    ];
    let metrics = of_a_run(MemoryDisk::drive(), &parts);
    let vcpu = metrics.vcpus[0];
    assert_eq!(metrics.vcpus.len(), 1);
    assert_eq!((vcpu.port_reads, vcpu.port_writes), (0, 3 + 1));
    // The notification does not leave KVM.
    assert_eq!((vcpu.mmio_reads, vcpu.mmio_writes), (0, 12));
    assert_eq!((vcpu.shutdowns, vcpu.other), (0, 0));
    let kvm = vcpu.kvm.expect("Linux 5.14 or later");
    assert!(kvm.exits >= vcpu.exits() - vcpu.interrupted, "{vcpu:?}");

    let names: Vec<_> = metrics.devices.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["vm-block0", "vm-rng"]);
    let disk = &metrics.devices[0];
    assert_eq!((disk.interrupts, disk.resets_needed), (1, 0));
    let queue = disk.queues[0];
    assert_eq!((queue.kicks, queue.requests, queue.refused), (1, 1, 0));
    assert_eq!(
        (queue.bytes_from_guest, queue.bytes_to_guest),
        (16 + 512, 1)
    );
    let done = disk.disk.unwrap();
    assert_eq!((done.writes, done.written_bytes), (1, 512));
    assert_eq!((done.reads, done.errors, done.refused), (0, 0, 0));
    let rng = &metrics.devices[1];
    assert_eq!((rng.interrupts, rng.queues[0].requests), (0, 0));
}

#[test]
fn what_fails_is_counted_apart() {
    let _turn = TURN.lock();
    let parts = [
        set_up(),
        write_sector(),
        wait_for_the_disk(),
        power_off(),
        spin(),
    ];
    let failed = of_a_run(FailingDisk::drive(), &parts).devices[0].clone();
    let disk = failed.disk.unwrap();
    assert_eq!((disk.errors, disk.writes, disk.written_bytes), (1, 0, 0));
    assert_eq!(failed.queues[0].requests, 1);

    let mut read_only = MemoryDisk::drive();
    read_only.read_only = true;
    let refused = of_a_run(read_only, &parts).devices[0].clone();
    let disk = refused.disk.unwrap();
    assert_eq!((disk.refused, disk.errors, disk.writes), (1, 0, 0));
}

#[test]
fn broken_descriptors_and_broken_queues_are_counted() {
    let _turn = TURN.lock();
    let kick = write32(DEVICE + 0x50, 0);
    // A buffer that is not in memory.
    let outside = [
        write32(DESCRIPTORS, 0x1000),
        write32(DESCRIPTORS + 4, 0x7000),
        write32(DESCRIPTORS + 8, 16),
        write32(AVAILABLE, 1 << 16),
        kick.clone(),
        wait_for_the_disk(),
        power_off(),
        spin(),
    ]
    .concat();
    let refused = of_a_run(MemoryDisk::drive(), &[set_up(), outside]);
    let queue = refused.devices[0].queues[0];
    assert_eq!((queue.requests, queue.refused), (1, 1));
    assert_eq!((queue.bytes_from_guest, queue.bytes_to_guest), (0, 0));
    assert_eq!(refused.devices[0].resets_needed, 0);

    // More requests than the queue has room for.
    let too_many = [write32(AVAILABLE, 100 << 16), kick, spin()].concat();
    let vm = start(MemoryDisk::drive(), &[set_up(), too_many]);
    let broken = wait_until(&vm.handle(), |m| m.devices[0].resets_needed > 0);
    assert_eq!(broken.devices[0].queues[0].requests, 0);
}

/// Waits for an interrupt that never comes.
fn halt() -> Vec<u8> {
    // cli; hlt; jmp to the cli.
    vec![0xfa, 0xf4, 0xeb, 0xfc]
}

#[test]
fn a_guest_that_works_uses_processor_time_and_one_that_halts_does_not() {
    let _turn = TURN.lock();
    const MUCH: Duration = Duration::from_millis(200);
    let works = start(MemoryDisk::drive(), &[print("x"), spin()]);
    let halts = start(MemoryDisk::drive(), &[print("x"), halt()]);
    let halted = halts.handle();
    // Whatever its start took.
    let before = wait_until(&halted, |m| m.vcpus[0].port_writes == 1);
    let working = wait_until(&works.handle(), |m| m.vcpus[0].cpu_time > MUCH);
    assert!(working.vcpus[0].cpu_time <= working.age, "{working:?}");
    let after = halted.metrics();
    let used = after.vcpus[0].cpu_time - before.vcpus[0].cpu_time;
    assert!(used < MUCH / 4, "{used:?}");
    assert!(before.vcpus[0].cpu_time > Duration::ZERO, "{before:?}");
}

#[test]
fn the_last_figures_outlive_the_vm_and_hold_nothing_of_it() {
    let _turn = TURN.lock();
    let before = possessions();
    let vm = start(MemoryDisk::drive(), &[print("x"), spin()]);
    let handle = vm.handle();
    let running = wait_until(&handle, |m| m.vcpus[0].port_writes == 1);
    drop(vm);
    assert_left(before);
    let last = handle.metrics();
    assert!(last.age >= running.age);
    assert!(last.vcpus[0].cpu_time >= running.vcpus[0].cpu_time);
    assert!(last.vcpus[0].kvm.unwrap().exits >= running.vcpus[0].kvm.unwrap().exits);
    assert_eq!(handle.metrics(), last);
}
