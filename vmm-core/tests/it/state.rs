//! Taking a VM's state, and going on from it in another VM.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::Value;
use vmm_core::{
    BlockBackend, Drive, Exit, HostCalls, Net, RateLimit, RateLimiter, RateLimits, ReadTarget,
    SaveError, StartError, StateError, Switch, Vm, VmConfig, VmState, WriteSource,
};

use super::disk::{MemoryDisk, SECTOR, set_up, wait_for_the_disk, write_again, write_sector};
use super::guest::{Screen, config, elf, file, out, print, spin, wait_for};
use super::lifecycle::{TURN, assert_left, possessions};
use super::seccomp::allow_no_filters;

const SOON: Duration = Duration::from_secs(20);
const MEMORY_MIB: u32 = 32;
/// Where the device says how much it wrote to the second request.
const SECOND_LENGTH: u64 = 0x200_2000 + 4 + 8 + 4;

/// Counts for ever, in a register and in memory, and prints the last digit of each number in octal. Before each, it
/// compares the two, and asks the serial port and a device for what it knows of them. What does not fit is a triple
/// fault.
fn counter() -> Vec<u8> {
    let mut code = vec![0x31, 0xc9]; // xor ecx, ecx
    code.extend([0x48, 0xbb]); // mov rbx, 24 MiB
    code.extend((24u64 << 20).to_le_bytes());
    code.extend([0x49, 0xb8]); // mov r8, the first device
    code.extend(0xd000_0000u64.to_le_bytes());
    code.extend(out(0x3ff, 0x5a));
    let start = code.len();
    let mut fails = Vec::new();
    for check in [
        &[0x66, 0xba, 0xff, 0x03, 0xec, 0x3c, 0x5a][..], // mov dx, 0x3ff; in al, dx; cmp al, 0x5a
        &[0x41, 0x8b, 0x00, 0x3d, b'v', b'i', b'r', b't'], // mov eax, [r8]; cmp eax, magic
        &[0x48, 0x39, 0x0b],                             // cmp [rbx], rcx
    ] {
        code.extend(check);
        code.extend([0x75, 0]); // jne to the end
        fails.push(code.len());
    }
    code.extend([0x48, 0xff, 0xc1, 0x48, 0x89, 0x0b]); // inc rcx; mov [rbx], rcx
    code.extend([0x66, 0xba, 0xf8, 0x03, 0x88, 0xc8]); // mov dx, 0x3f8; mov al, cl
    code.extend([0x24, 0x07, 0x04, b'0', 0xee]); // and al, 7; add al, '0'; out dx, al
    let back = u8::try_from(code.len() + 2 - start).unwrap();
    code.extend([0xeb, back.wrapping_neg()]);
    for from in fails {
        code[from - 1] = u8::try_from(code.len() - from).unwrap();
    }
    code.extend([0x0f, 0x0b]);
    code
}

/// A small machine with a console of its own, for the kernel of these parts.
fn machine(parts: &[Vec<u8>], change: impl FnOnce(&mut VmConfig)) -> (VmConfig, Screen) {
    let screen = Screen::default();
    let (dir, path) = file(&elf(parts));
    let mut config = config(path, &screen);
    config.kernel = vmm_core::Kernel::open(dir.path().join("kernel"))
        .unwrap()
        .into();
    config.memory_mib = MEMORY_MIB;
    change(&mut config);
    (config, screen)
}

/// The state and memory of a VM, which ends.
fn take(vm: Vm) -> (VmState, Vec<u8>) {
    vm.pause();
    let state = vm.state().unwrap();
    let mut memory = Vec::new();
    vm.copy_memory(&mut memory).unwrap();
    drop(vm);
    (state, memory)
}

fn wait_for_output(screen: &Screen, bytes: usize) {
    let end = Instant::now() + SOON;
    while screen.text().len() < bytes {
        assert!(Instant::now() < end, "{:?}", screen.text());
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_guest_goes_on_in_another_vm_exactly_where_it_was() {
    let _turn = TURN.lock();
    let before = possessions();
    let all_devices = |config: &mut VmConfig| {
        config.vcpus = 2;
        config.drives = vec![MemoryDisk::drive()];
        config.nets = vec![Net::new(Switch::new().port().unwrap())];
        config.vsock_cid = Some(3);
        config.balloon = true;
        config.watchdog = true;
    };
    let (config, screen) = machine(&[counter()], all_devices);
    let mut vm = Vm::start(config).unwrap();
    let mut printed = String::new();
    let mut screen = screen;
    for _ in 0..10 {
        wait_for_output(&screen, 50);
        let (state, memory) = take(vm);
        printed.push_str(&screen.text());
        let (config, next) = machine(&[spin()], all_devices);
        screen = next;
        vm = Vm::restore(config, &state, &mut memory.as_slice()).unwrap();
    }
    wait_for_output(&screen, 50);
    assert!(vm.wait_timeout(Duration::ZERO).is_none(), "{printed}");
    drop(vm);
    printed.push_str(&screen.text());
    let expected: String = "12345670".chars().cycle().take(printed.len()).collect();
    assert_eq!(printed, expected);
    assert_left(before);
}

#[test]
fn a_state_is_the_same_after_a_restore_and_after_a_format() {
    let _turn = TURN.lock();
    let (config, screen) = machine(&[counter()], |config| config.vcpus = 2);
    let vm = Vm::start(config).unwrap();
    wait_for_output(&screen, 50);
    let (state, memory) = take(vm);
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<VmState>(&text).unwrap(), state);

    let (config, screen) = machine(&[spin()], |config| config.vcpus = 2);
    let vm = Vm::restore(config, &state, &mut memory.as_slice()).unwrap();
    wait_for_output(&screen, 1);
    vm.pause();
    let again = vm.state().unwrap();
    assert_eq!(again.interrupt_controllers, state.interrupt_controllers);
    assert_eq!(again.serial, state.serial);
    assert_eq!(again.devices, state.devices);
    for (again, vcpu) in again.vcpus.iter().zip(&state.vcpus) {
        assert_eq!(again.cpuid, vcpu.cpuid);
        assert_eq!(again.sregs, vcpu.sregs);
        assert_eq!(again.xcrs, vcpu.xcrs);
        assert_eq!(again.mp_state, vcpu.mp_state);
        assert_eq!(again.tsc_khz, vcpu.tsc_khz);
    }
}

#[test]
fn only_a_paused_vm_has_a_state() {
    let _turn = TURN.lock();
    let (config, _screen) = machine(&[spin()], |_| {});
    let vm = Vm::start(config).unwrap();
    let refused = |vm: &Vm| {
        assert!(matches!(vm.state(), Err(SaveError::NotPaused)));
        let copied = vm.copy_memory(&mut io::sink());
        assert!(matches!(copied, Err(SaveError::NotPaused)));
    };
    refused(&vm);
    vm.pause();
    vm.state().unwrap();
    let mut room = [0; 100];
    let mut full = room.as_mut_slice();
    let copied = vm.copy_memory(&mut full);
    assert!(matches!(copied, Err(SaveError::Write { .. })), "{copied:?}");
    vm.state().unwrap();
    vm.resume();
    refused(&vm);
    vm.pause();
    vm.stop();
    assert!(matches!(vm.wait(), Exit::Stopped));
    refused(&vm);
}

/// A machine with one drive.
fn machine_with(parts: &[Vec<u8>], mut drive: Drive, limiter: RateLimiter) -> (VmConfig, Screen) {
    machine(parts, |config| {
        config.memory_mib = 64;
        config.vcpus = 16;
        drive.limiter = limiter;
        config.drives = vec![drive];
    })
}

/// So slow that a request is the last for a while.
fn slow() -> RateLimiter {
    let bytes = Some(RateLimit {
        per_second: 1,
        burst: 1,
    });
    RateLimiter::new(RateLimits {
        bytes,
        operations: None,
    })
    .unwrap()
}

/// The state and memory of a guest whose second write waits for a slow drive.
fn with_a_request_that_waits() -> (VmState, Vec<u8>) {
    let parts = [
        set_up(),
        write_sector(),
        wait_for_the_disk(),
        write_again(),
        print("asked"),
        wait_for(SECOND_LENGTH),
        print("answered"),
        spin(),
    ];
    let (config, screen) = machine_with(&parts, MemoryDisk::drive(), slow());
    let vm = Vm::start(config).unwrap();
    wait_for_output(&screen, "asked".len());
    let (state, memory) = take(vm);
    assert_eq!(screen.text(), "asked");
    (state, memory)
}

/// Goes on from there with a fast drive, which serves the request.
fn assert_served_by_another(state: &VmState, mut memory: &[u8]) {
    let disk = MemoryDisk::new(false);
    let drive = MemoryDisk::drive_of(&disk);
    let (config, screen) = machine_with(&[spin()], drive, RateLimiter::default());
    let vm = Vm::restore(config, state, &mut memory).unwrap();
    let end = Instant::now() + SOON;
    while disk.sector(SECTOR) != *b"more" {
        assert!(Instant::now() < end);
        thread::sleep(Duration::from_millis(1));
    }
    wait_for_output(&screen, "answered".len());
    assert_eq!(screen.text(), "answered");
    drop(vm);
}

#[test]
fn a_request_that_waits_is_served_by_the_vm_that_goes_on() {
    let _turn = TURN.lock();
    let (state, memory) = with_a_request_that_waits();
    // The debt goes on, too.
    let disk = MemoryDisk::new(false);
    let (config, _screen) = machine_with(&[spin()], MemoryDisk::drive_of(&disk), slow());
    let vm = Vm::restore(config, &state, &mut memory.as_slice()).unwrap();
    thread::sleep(Duration::from_millis(50));
    drop(vm);
    assert_eq!(disk.sector(SECTOR), [0; 4]);
    assert_served_by_another(&state, &memory);
}

/// A disk like [`MemoryDisk`] that counts what it is asked for, on threads without a filter.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Counting {
    fn count(&self) -> io::Result<()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

impl BlockBackend for Counting {
    fn size(&self) -> u64 {
        MemoryDisk::drive().backend.size()
    }
    fn read_at(&self, _: &mut ReadTarget<'_>, _: u64) -> io::Result<()> {
        self.count()
    }
    fn write_at(&self, _: &mut WriteSource<'_>, _: u64) -> io::Result<()> {
        self.count()
    }
    fn flush(&self) -> io::Result<()> {
        self.count()
    }
    fn discard(&self, _: u64, _: u64) -> io::Result<()> {
        self.count()
    }
    fn write_zeroes(&self, _: u64, _: u64) -> io::Result<()> {
        self.count()
    }
    fn host_calls(&self) -> HostCalls {
        HostCalls::Any
    }
}

#[test]
fn a_restore_that_fails_at_the_last_moment_has_done_nothing() {
    /// Devices that went on too early may be stopped before they begin.
    const TRIES: u32 = 12;
    let _turn = TURN.lock();
    let (state, memory) = with_a_request_that_waits();
    let before = possessions();
    let disk = Arc::new(Counting::default());
    thread::scope(|scope| {
        scope.spawn(|| {
            // Threads find that they get no filter when all else is there.
            allow_no_filters();
            for _ in 0..TRIES {
                let drive = Drive::new(Arc::clone(&disk) as Arc<dyn BlockBackend>);
                let (config, screen) = machine_with(&[spin()], drive, RateLimiter::default());
                let error = Vm::restore(config, &state, &mut memory.as_slice()).unwrap_err();
                assert!(matches!(error, StartError::Seccomp { .. }), "{error:?}");
                assert_eq!(screen.text(), "");
            }
        });
    });
    assert_eq!(disk.0.load(Ordering::SeqCst), 0, "the disk was asked");
    assert_left(before);
    assert_served_by_another(&state, &memory);
}

#[test]
fn a_configuration_of_another_machine_is_refused_by_name() {
    let _turn = TURN.lock();
    let before = possessions();
    let usual = |config: &mut VmConfig| {
        config.drives = vec![MemoryDisk::drive()];
        config.vsock_cid = Some(3);
    };
    let (config, _screen) = machine(&[spin()], usual);
    let (state, memory) = take(Vm::start(config).unwrap());
    type Change = fn(&mut VmConfig);
    let changes: [(Change, &str); 8] = [
        (|c| c.memory_mib = 16, "memory_mib"),
        (|c| c.vcpus = 2, "vcpus"),
        (|c| c.watchdog = true, "watchdog"),
        (|c| c.balloon = true, "devices"),
        (|c| c.drives[0].read_only = true, "read_only of vm-block0"),
        (
            |c| c.drives[0].serial = "x".to_owned(),
            "serial of vm-block0",
        ),
        (|c| c.vsock_cid = Some(4), "vsock_cid"),
        (
            |c| {
                c.vsock_cid = None;
                c.balloon = true;
            },
            "the place of vm-balloon",
        ),
    ];
    for (change, expected) in changes {
        let (mut config, _screen) = machine(&[spin()], usual);
        change(&mut config);
        let error = Vm::restore(config, &state, &mut memory.as_slice()).unwrap_err();
        let StartError::State(StateError::Differs { setting, .. }) = &error else {
            panic!("{error:?}");
        };
        assert!(setting.contains(expected), "{setting}");
    }
    let (config, _screen) = machine(&[spin()], usual);
    let error = Vm::restore(config, &state, &mut &memory[1..]).unwrap_err();
    let StartError::State(StateError::Memory { memory_mib, .. }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(memory_mib, MEMORY_MIB);
    assert_left(before);
}

/// Replaces a value somewhere in `value`; `picks` say where, level by level.
fn change(value: &mut Value, picks: &[usize], number: u64) {
    let (pick, rest) = picks.split_first().unwrap_or((&0, &[]));
    match value {
        Value::Array(list) if !list.is_empty() => {
            let count = list.len();
            match rest {
                [] => list.truncate(pick % count),
                rest => change(&mut list[pick % count], rest, number),
            }
        }
        Value::Object(fields) if !fields.is_empty() => {
            let count = fields.len();
            change(fields.values_mut().nth(pick % count).unwrap(), rest, number);
        }
        Value::Bool(flag) => *flag = !*flag,
        Value::Null => *value = number.into(),
        Value::Number(_) => *value = number.into(),
        Value::String(text) => text.push('x'),
        Value::Array(list) => list.push(number.into()),
        Value::Object(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_damaged_state_is_refused_or_harms_its_own_guest_only(
        picks in proptest::collection::vec(any::<usize>(), 1..8),
        number in prop_oneof![
            Just(0), Just(1), 0..256u64, 0..=u64::from(u16::MAX), 0..=u64::from(u32::MAX), any::<u64>()
        ],
    ) {
        let _turn = TURN.lock();
        let (state, memory) = sample();
        let mut document = serde_json::to_value(state).unwrap();
        change(&mut document, &picks, number);
        let Ok(damaged) = serde_json::from_value::<VmState>(document) else {
            // A number that its field can't hold.
            return Ok(());
        };
        let (config, _screen) = machine(&[spin()], with_devices);
        let begun = Instant::now();
        match Vm::restore(config, &damaged, &mut memory.as_slice()) {
            Ok(vm) => {
                vm.pause();
                // It has one again, or its guest is at its end.
                let again = vm.state();
                prop_assert!(again.is_ok() || vm.wait_timeout(SOON).is_some(), "{again:?}");
                vm.stop();
                let exit = vm.wait_timeout(SOON);
                prop_assert!(exit.is_some());
                if let Some(Exit::Failed(error)) = exit {
                    let error = format!("{error:?}");
                    prop_assert!(!error.contains("ThreadDied"), "{error}");
                }
            }
            Err(StartError::State(_)) => {}
            Err(error) => prop_assert!(false, "{error:?}"),
        }
        prop_assert!(begun.elapsed() < SOON);
    }
}

fn with_devices(config: &mut VmConfig) {
    config.vcpus = 2;
    config.drives = vec![MemoryDisk::drive()];
    config.nets = vec![Net::new(Switch::new().port().unwrap())];
    config.vsock_cid = Some(3);
    config.balloon = true;
    config.watchdog = true;
}

/// The state and memory of a guest that counts, with its drive at work.
fn sample() -> &'static (VmState, Vec<u8>) {
    static SAMPLE: std::sync::OnceLock<(VmState, Vec<u8>)> = std::sync::OnceLock::new();
    SAMPLE.get_or_init(|| {
        let (config, screen) = machine(&[set_up(), counter()], with_devices);
        let vm = Vm::start(config).unwrap();
        wait_for_output(&screen, 20);
        let (state, memory) = take(vm);
        let (config, screen) = machine(&[spin()], with_devices);
        let vm = Vm::restore(config, &state, &mut memory.as_slice()).unwrap();
        wait_for_output(&screen, 20);
        drop(vm);
        (state, memory)
    })
}

#[test]
fn the_state_says_how_far_a_queue_is() {
    let _turn = TURN.lock();
    let disk = MemoryDisk::new(false);
    let with_disk = |config: &mut VmConfig| {
        config.memory_mib = 64;
        config.drives = vec![MemoryDisk::drive_of(&disk)];
    };
    let parts = [set_up(), write_sector(), wait_for_the_disk(), counter()];
    let (config, screen) = machine(&parts, with_disk);
    let vm = Vm::start(config).unwrap();
    wait_for_output(&screen, 5);
    let (state, memory) = take(vm);
    let queue = state.devices[0].transport.queues[0];
    assert_eq!((queue.next_available, queue.next_used), (1, 1));
    assert!(queue.ready && state.devices[0].transport.active);
    let (config, screen) = machine(&[spin()], with_disk);
    let vm = Vm::restore(config, &state, &mut memory.as_slice()).unwrap();
    wait_for_output(&screen, 5);
    drop(vm);
    assert_eq!(Arc::strong_count(&disk), 1);
}
