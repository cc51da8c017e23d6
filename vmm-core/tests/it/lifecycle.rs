//! How runs begin and end.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use vmm_core::{Exit, MAX_DRIVES, MAX_VCPUS, RunError, Vm};

use super::disk::MemoryDisk;
use super::guest::{Screen, config, elf, file, out, print, spin, triple_fault};

const SOON: Duration = Duration::from_secs(20);

/// Descriptors and threads are counted for the whole process, so tests that make VMs take turns.
pub(crate) static TURN: Mutex<()> = Mutex::new(());

fn run(parts: &[Vec<u8>]) -> (Exit, String) {
    let (_dir, path) = file(&elf(parts));
    let screen = Screen::default();
    let vm = Vm::start(config(path, &screen)).unwrap();
    let exit = vm.wait_timeout(SOON).expect("the guest ends by itself");
    (exit, screen.text())
}

fn entries(folder: &str) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn a_guest_prints_and_powers_off() {
    let _turn = TURN.lock();
    let (exit, text) = run(&[print("hello\n"), out(0x600, 5 << 2 | 1 << 5), spin()]);
    assert!(matches!(exit, Exit::PowerOff), "{exit:?}");
    assert_eq!(text, "hello\n");
}

#[test]
fn each_way_to_reset_ends_the_run_as_a_reboot() {
    let _turn = TURN.lock();
    for way in [out(0x64, 0xfe), out(0x602, 1), triple_fault()] {
        let (exit, text) = run(&[print("x"), way, spin()]);
        assert!(matches!(exit, Exit::Reboot), "{exit:?}");
        assert_eq!(text, "x");
    }
}

#[test]
fn stop_ends_a_spinning_guest_at_once_and_for_all_who_wait() {
    let _turn = TURN.lock();
    let (_dir, path) = file(&elf(&[print("s"), spin()]));
    let screen = Screen::default();
    let mut config = config(path, &screen);
    config.vcpus = 3;
    let vm = Vm::start(config).unwrap();
    while screen.text().is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(vm.wait_timeout(Duration::from_millis(20)).is_none());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| vm.wait());
        vm.stop();
        vm.stop();
        assert!(matches!(vm.wait(), Exit::Stopped));
        assert!(matches!(waiter.join().unwrap(), Exit::Stopped));
    });
    assert!(begun.elapsed() < Duration::from_secs(2));
    vm.stop();
    assert!(matches!(vm.wait(), Exit::Stopped));
}

#[test]
fn the_first_reason_to_end_stays_the_reason() {
    let _turn = TURN.lock();
    let (_dir, path) = file(&elf(&[out(0x64, 0xfe), spin()]));
    let vm = Vm::start(config(path, &Screen::default())).unwrap();
    assert!(matches!(vm.wait(), Exit::Reboot));
    vm.stop();
    assert!(matches!(vm.wait(), Exit::Reboot));
}

#[test]
fn two_vms_run_at_once_and_know_nothing_of_each_other() {
    let _turn = TURN.lock();
    let (_a, spinning) = file(&elf(&[print("a"), spin()]));
    let (_b, ending) = file(&elf(&[print("b"), out(0x64, 0xfe), spin()]));
    let (first, second) = (Screen::default(), Screen::default());
    let a = Vm::start(config(spinning, &first)).unwrap();
    let b = Vm::start(config(ending, &second)).unwrap();
    assert!(matches!(b.wait(), Exit::Reboot));
    assert!(a.wait_timeout(Duration::from_millis(50)).is_none());
    a.stop();
    assert!(matches!(a.wait(), Exit::Stopped));
    assert_eq!((first.text(), second.text()), ("a".into(), "b".into()));
}

#[test]
fn a_dropped_vm_leaves_no_thread_or_descriptor() {
    let _turn = TURN.lock();
    let (_dir, path) = file(&elf(&[spin()]));
    let before = possessions();
    for _ in 0..5 {
        let mut config = config(path.clone(), &Screen::default());
        config.vcpus = 2;
        config.vsock_cid = Some(3);
        drop(Vm::start(config).unwrap());
    }
    assert_left(before);
}

/// Descriptors of this process, and threads of VMs.
pub(crate) fn possessions() -> (usize, usize) {
    (entries("/proc/self/fd"), vm_threads())
}

/// Makes sure that no more is there than was before. The kernel shows a thread a moment longer than it can be joined.
pub(crate) fn assert_left(before: (usize, usize)) {
    let begun = Instant::now();
    while possessions() != before && begun.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(possessions(), before);
}

fn vm_threads() -> usize {
    let is_vm = |entry: io::Result<std::fs::DirEntry>| {
        let name = std::fs::read_to_string(entry.unwrap().path().join("comm"));
        name.is_ok_and(|name| name.starts_with("vm-"))
    };
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|entry| is_vm(entry).then_some(()))
        .count()
}

#[test]
fn the_largest_machine_may_be_dropped_at_any_moment() {
    let _turn = TURN.lock();
    let (_dir, path) = file(&elf(&[spin()]));
    let before = possessions();
    for delay_us in [0, 100, 1000, 5000] {
        let mut config = config(path.clone(), &Screen::default());
        config.vcpus = MAX_VCPUS;
        config.vsock_cid = Some(3);
        config.drives = vec![MemoryDisk::drive(); MAX_DRIVES];
        config.balloon = true;
        config.watchdog = true;
        let vm = Vm::start(config).unwrap();
        std::thread::sleep(Duration::from_micros(delay_us));
        drop(vm);
    }
    assert_left(before);
}

#[test]
fn a_console_that_panics_fails_the_run() {
    struct Bomb;
    impl Write for Bomb {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("on purpose");
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let _turn = TURN.lock();
    let (_dir, path) = file(&elf(&[print("x"), spin()]));
    let mut config = config(path, &Screen::default());
    config.console = Box::new(Bomb);
    let exit = Vm::start(config).unwrap().wait();
    let Exit::Failed(error) = exit else {
        panic!("{exit:?}");
    };
    assert!(matches!(*error, RunError::ThreadDied { .. }));
}

#[test]
fn a_console_that_panics_in_the_end_leaves_nobody_waiting() {
    struct Bomb;
    impl Write for Bomb {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            panic!("on purpose");
        }
    }
    let _turn = TURN.lock();
    let (_dir, path) = file(&elf(&[out(0x64, 0xfe), spin()]));
    let mut config = config(path, &Screen::default());
    config.console = Box::new(Bomb);
    let vm = Vm::start(config).unwrap();
    assert!(matches!(vm.wait_timeout(SOON), Some(Exit::Reboot)));
}

#[test]
fn vsock_without_a_driver_times_out_and_ends_with_the_vm() {
    let _turn = TURN.lock();
    let (_dir, path) = file(&elf(&[spin()]));
    let mut config = config(path, &Screen::default());
    config.vsock_cid = Some(3);
    let vm = Vm::start(config).unwrap();
    let vsock = vm.vsock().unwrap();
    let kind = |result: io::Result<_>| {
        result
            .map(|_: vmm_core::VsockStream| ())
            .unwrap_err()
            .kind()
    };
    assert_eq!(
        kind(vsock.connect(1, Duration::from_millis(10))),
        ErrorKind::TimedOut
    );
    let listener = Arc::new(vsock.listen(5).unwrap());
    assert_eq!(vsock.listen(5).unwrap_err().kind(), ErrorKind::AddrInUse);
    assert_eq!(
        kind(listener.accept(Some(Duration::from_millis(10)))),
        ErrorKind::TimedOut
    );
    let waiting = {
        let listener = Arc::clone(&listener);
        std::thread::spawn(move || listener.accept(None).map(|_| ()).unwrap_err().kind())
    };
    vm.stop();
    assert_eq!(waiting.join().unwrap(), ErrorKind::BrokenPipe);
    drop(vm);
    assert_eq!(kind(vsock.connect(1, SOON)), ErrorKind::BrokenPipe);
}

#[test]
fn the_guest_starts_within_reason() {
    let _turn = TURN.lock();
    let (_dir, path) = file(&elf(&[out(0x64, 0xfe), spin()]));
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let mut config = config(path.clone(), &Screen::default());
        config.memory_mib = 256;
        let begun = Instant::now();
        let vm = Vm::start(config).unwrap();
        let started = begun.elapsed();
        assert!(matches!(vm.wait(), Exit::Reboot));
        best = best.min(started);
    }
    println!("a VM of 256 MiB starts in {best:?}");
    assert!(best < Duration::from_secs(1));
}
