//! Pausing and going on.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use vmm_core::{BOOT_MARK_PORT, BOOT_MARK_VALUE, Event, Exit, SaveError, Vm, VmConfig};

use super::disk::{FailingDisk, MemoryDisk, set_up, write_sector};
use super::guest::{Screen, config, elf, file, out, print, spin};
use super::lifecycle::{TURN, assert_left, possessions};

const SOON: Duration = Duration::from_secs(20);
const QUICK: Duration = Duration::from_millis(50);

/// Prints for ever.
fn chatter() -> Vec<u8> {
    let mut code = print("x");
    let back = u8::try_from(code.len() + 2).unwrap();
    code.extend([0xeb, back.wrapping_neg()]);
    code
}

/// Sets the watchdog to one second.
fn arm() -> Vec<u8> {
    vec![
        0x66, 0xba, 0x10, 0x06, // mov dx, 0x610
        0x66, 0xb8, 0x0a, 0x00, // mov ax, 10
        0x66, 0xef, // out dx, ax
    ]
}

/// Sleeps until an interrupt comes, of which there is none.
fn halt() -> Vec<u8> {
    vec![0xfa, 0xf4, 0xeb, 0xfd]
}

fn start(parts: &[Vec<u8>], screen: &Screen, change: impl FnOnce(&mut VmConfig)) -> Vm {
    let (_dir, path) = file(&elf(parts));
    let mut config = config(path, screen);
    change(&mut config);
    Vm::start(config).unwrap()
}

fn wait_for_more(screen: &Screen) {
    let begun = Instant::now();
    let before = screen.text().len();
    while screen.text().len() == before {
        assert!(begun.elapsed() < SOON);
        thread::sleep(Duration::from_millis(1));
    }
}

fn assert_silent(screen: &Screen) {
    let before = screen.text().len();
    thread::sleep(Duration::from_millis(30));
    assert_eq!(screen.text().len(), before);
}

#[test]
fn a_paused_guest_does_nothing_and_goes_on_where_it_was() {
    let _turn = TURN.lock();
    let screen = Screen::default();
    let vm = start(&[chatter()], &screen, |_| {});
    wait_for_more(&screen);
    vm.resume();
    for _ in 0..3 {
        vm.pause();
        assert_silent(&screen);
        vm.pause();
        assert_silent(&screen);
        vm.handle().resume();
        wait_for_more(&screen);
        vm.resume();
        wait_for_more(&screen);
    }
}

#[test]
fn a_pause_is_quick_whatever_the_guest_does() {
    let _turn = TURN.lock();
    for guest in [halt(), spin(), chatter()] {
        let vm = start(&[guest], &Screen::default(), |config| {
            config.vcpus = 4;
            config.vsock_cid = Some(3);
        });
        thread::sleep(Duration::from_millis(10));
        let mut best = SOON;
        for _ in 0..5 {
            let begun = Instant::now();
            vm.pause();
            best = best.min(begun.elapsed());
            vm.resume();
        }
        println!("paused in {best:?}");
        assert!(best < QUICK, "{best:?}");
    }
}

#[test]
fn a_pause_waits_for_the_disk_and_holds_what_comes_later() {
    let _turn = TURN.lock();
    let disk = MemoryDisk::new(true);
    let screen = Screen::default();
    let parts = [set_up(), write_sector(), chatter()];
    let vm = start(&parts, &screen, |config| {
        config.drives = vec![MemoryDisk::drive_of(&disk)];
    });
    disk.wait_for_visitor();
    thread::scope(|scope| {
        let pausing = scope.spawn(|| vm.pause());
        thread::sleep(Duration::from_millis(50));
        assert!(!pausing.is_finished(), "the disk is still being written");
        disk.open();
        pausing.join().unwrap();
    });
    assert_silent(&screen);
    vm.resume();
    wait_for_more(&screen);
}

#[test]
fn a_paused_vm_stops_and_leaves_nothing() {
    let _turn = TURN.lock();
    let before = possessions();
    for drop_it in [false, true] {
        let vm = start(&[spin()], &Screen::default(), |config| {
            config.vcpus = 2;
            config.drives = vec![MemoryDisk::drive()];
        });
        vm.pause();
        assert!(vm.wait_timeout(Duration::from_millis(20)).is_none());
        let handle = vm.handle();
        if !drop_it {
            vm.stop();
            assert!(matches!(vm.wait_timeout(SOON), Some(Exit::Stopped)));
        }
        drop(vm);
        assert_left(before);
        handle.pause();
        handle.resume();
        handle.pause();
        assert!(matches!(handle.wait_timeout(SOON), Some(Exit::Stopped)));
    }
}

#[test]
fn pauses_and_ends_in_any_order_never_hang() {
    let _turn = TURN.lock();
    let before = possessions();
    for round in 0..40u32 {
        // Every other guest ends by itself, at some moment.
        let ending = [print(&"x".repeat(500)), out(0x64, 0xfe), spin()].concat();
        let guest = if round % 2 == 0 { ending } else { chatter() };
        let vm = start(
            &[set_up(), write_sector(), guest],
            &Screen::default(),
            |config| {
                config.vcpus = 3;
                config.vsock_cid = Some(3);
                config.watchdog = true;
                config.drives = vec![MemoryDisk::drive()];
            },
        );
        let seed = AtomicU32::new(round.wrapping_mul(0x9e37_79b9) | 1);
        let random = || {
            let next = |x: u32| Some(x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
            seed.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next)
                .unwrap()
                >> 16
        };
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        match random() % 3 {
                            0 => vm.pause(),
                            1 => vm.resume(),
                            _ => thread::sleep(Duration::from_micros(u64::from(random() % 500))),
                        }
                    }
                });
            }
            scope.spawn(|| {
                thread::sleep(Duration::from_micros(u64::from(random() % 5000)));
                vm.stop();
            });
        });
        let exit = vm.wait_timeout(SOON);
        assert!(
            matches!(exit, Some(Exit::Stopped | Exit::Reboot)),
            "{exit:?}"
        );
    }
    assert_left(before);
}

#[test]
fn the_watchdog_does_not_count_a_pause() {
    let _turn = TURN.lock();
    let parts = [arm(), out(0x612, 1), print("armed"), spin()];
    let screen = Screen::default();
    let vm = start(&parts, &screen, |config| config.watchdog = true);
    while screen.text() != "armed" {
        thread::sleep(Duration::from_millis(1));
    }
    vm.pause();
    assert!(vm.wait_timeout(Duration::from_millis(1500)).is_none());
    vm.resume();
    let begun = Instant::now();
    assert!(matches!(vm.wait_timeout(SOON), Some(Exit::Reboot)));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_guest_whose_watchdog_expires_stands_still_when_its_owner_hears_of_it() {
    let _turn = TURN.lock();
    let parts = [arm(), out(0x612, 1), chatter()];
    let screen = Screen::default();
    let (told, heard) = channel();
    let (leave, wait) = channel::<()>();
    let (told, wait) = (Mutex::new(told), Mutex::new(wait));
    let vm = start(&parts, &screen, |config| {
        config.watchdog = true;
        config.on_event = Some(Box::new(move |event| {
            told.lock().unwrap().send(event).unwrap();
            let _left = wait.lock().unwrap().recv_timeout(SOON);
        }));
    });
    let event = heard.recv_timeout(SOON).unwrap();
    assert!(matches!(event, Event::WatchdogExpired), "{event:?}");
    assert_silent(&screen);
    assert!(vm.wait_timeout(Duration::ZERO).is_none());
    leave.send(()).unwrap();
    assert!(matches!(vm.wait_timeout(SOON), Some(Exit::Reboot)));
}

/// Says when it is written to, and waits for leave.
struct Held {
    entered: Sender<()>,
    leave: Receiver<()>,
}

impl Write for Held {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.entered.send(()).unwrap();
        let _left = self.leave.recv_timeout(SOON);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_copy_whose_writer_is_stuck_delays_the_end_and_is_told_of() {
    let _turn = TURN.lock();
    let (told, events) = channel();
    let told = Mutex::new(told);
    let vm = start(&[spin()], &Screen::default(), |config| {
        config.on_event = Some(Box::new(move |event| {
            told.lock().unwrap().send(event).unwrap();
        }));
    });
    let (entered, inside) = channel();
    let (go_on, leave) = channel();
    let mut target = Held { entered, leave };
    vm.pause();
    let copied = thread::scope(|scope| {
        let copy = scope.spawn(|| vm.copy_memory(&mut target));
        inside.recv_timeout(SOON).unwrap();
        vm.stop();
        match events.recv_timeout(SOON).unwrap() {
            Event::StopDelayed { thread } => assert_eq!(thread, "copy_memory"),
            other => panic!("{other:?}"),
        }
        assert!(vm.wait_timeout(Duration::ZERO).is_none());
        go_on.send(()).unwrap();
        assert!(matches!(vm.wait_timeout(SOON), Some(Exit::Stopped)));
        copy.join().unwrap()
    });
    assert!(matches!(copied, Err(SaveError::NotPaused)), "{copied:?}");
    assert!(events.try_recv().is_err());
}

/// Starts a guest whose first event makes `callback` use what `take` has of the VM, and stops it in the middle of that.
fn stop_inside_a_callback<T: Clone + Send + Sync + 'static>(
    parts: &[Vec<u8>],
    take: impl Fn(&Vm) -> T,
    callback: impl Fn(T) + Send + Sync + 'static,
) {
    let (entered, waiting) = channel();
    let slot = Arc::new(OnceLock::<T>::new());
    let inside = Arc::clone(&slot);
    let vm = start(parts, &Screen::default(), |config| {
        config.drives = vec![FailingDisk::drive()];
        config.on_event = Some(Box::new(move |_| {
            let it = inside.wait().clone();
            let _nobody_waits = entered.send(());
            callback(it);
        }));
    });
    assert!(slot.set(take(&vm)).is_ok());
    waiting.recv_timeout(SOON).unwrap();
    thread::sleep(Duration::from_millis(30));
    vm.stop();
    assert!(matches!(vm.wait_timeout(SOON), Some(Exit::Stopped)));
}

#[test]
fn callbacks_that_wait_for_their_own_vm_do_not_keep_it_from_stopping() {
    let _turn = TURN.lock();
    let booted = [out(BOOT_MARK_PORT, BOOT_MARK_VALUE), spin()];
    stop_inside_a_callback(&booted, Vm::console_input, |mut input| {
        let written = input.write_all(&[b'x'; 5000]);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    });
    let fails = [set_up(), write_sector(), spin()];
    stop_inside_a_callback(&fails, Vm::handle, |vm| vm.pause());
}

#[test]
fn a_pause_that_waits_for_a_slow_disk_is_not_held_against_the_guest() {
    let _turn = TURN.lock();
    let disk = MemoryDisk::new(true);
    let screen = Screen::default();
    let parts = [set_up(), write_sector(), arm(), out(0x612, 1), chatter()];
    let vm = start(&parts, &screen, |config| {
        config.watchdog = true;
        config.drives = vec![MemoryDisk::drive_of(&disk)];
    });
    disk.wait_for_visitor();
    wait_for_more(&screen);
    thread::scope(|scope| {
        let pausing = scope.spawn(|| vm.pause());
        thread::sleep(Duration::from_millis(1500));
        assert!(!pausing.is_finished(), "the disk is still being written");
        disk.open();
        pausing.join().unwrap();
    });
    assert!(
        vm.wait_timeout(Duration::ZERO).is_none(),
        "it was not reset"
    );
}
