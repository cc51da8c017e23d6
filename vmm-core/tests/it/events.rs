//! What a VM tells its owner.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vmm_core::{
    BOOT_MARK_PORT, BOOT_MARK_VALUE, Backend, CrashKind, DiskOperation, Event, Exit, FrameStream,
    Net, NetBackend, OffloadHeader, RunError, Vm, VmConfig,
};

use super::disk::{
    FailingDisk, MemoryDisk, PanickingDisk, set_up, wait_for_the_disk, write_sector,
};
use super::guest::{Screen, config, elf, file, out, spin, triple_fault};
use super::lifecycle::TURN;

const SOON: Duration = Duration::from_secs(20);

fn start(parts: &[Vec<u8>], change: impl FnOnce(&mut VmConfig)) -> (Vm, Receiver<Event>) {
    let (_dir, path) = file(&elf(parts));
    let (sender, events) = channel();
    let sender = Mutex::new(sender);
    let mut config = config(path, &Screen::default());
    config.on_event = Some(Box::new(move |event| {
        sender.lock().unwrap().send(event).unwrap();
    }));
    change(&mut config);
    (Vm::start(config).unwrap(), events)
}

fn power_off() -> Vec<u8> {
    out(0x600, 5 << 2 | 1 << 5)
}

#[test]
fn the_owner_hears_of_boot_crash_and_end_in_order() {
    let _turn = TURN.lock();
    let mark = out(BOOT_MARK_PORT, BOOT_MARK_VALUE);
    let parts = [mark.clone(), mark, out(0x505, 1), power_off(), spin()];
    let (vm, events) = start(&parts, |_| {});
    assert!(matches!(vm.wait_timeout(SOON), Some(Exit::PowerOff)));
    // All were told before the wait returned, and nobody is left to tell more.
    let told: Vec<Event> = events.try_iter().collect();
    let [
        Event::Booted { after },
        Event::Crashed {
            kind: CrashKind::Panicked,
        },
        Event::PowerOffAsked,
    ] = &told[..]
    else {
        panic!("{told:?}");
    };
    assert_eq!(vm.boot_time(), Some(*after));
    assert!(*after > Duration::ZERO && *after < SOON);
}

#[test]
fn a_triple_fault_is_told_apart_from_a_reboot_and_a_stop_is_not_told() {
    let _turn = TURN.lock();
    let (vm, events) = start(&[triple_fault()], |config| config.vcpus = 2);
    assert!(matches!(vm.wait_timeout(SOON), Some(Exit::Reboot)));
    let told: Vec<Event> = events.try_iter().collect();
    assert!(
        matches!(told[..], [Event::TripleFault { vcpu: 0 }]),
        "{told:?}"
    );
    let (vm, events) = start(&[out(0x64, 0xfe), spin()], |_| {});
    assert!(matches!(vm.wait_timeout(SOON), Some(Exit::Reboot)));
    let told: Vec<Event> = events.try_iter().collect();
    assert!(matches!(told[..], [Event::RebootAsked]), "{told:?}");
    let (vm, events) = start(&[spin()], |_| {});
    vm.stop();
    assert!(matches!(vm.wait_timeout(SOON), Some(Exit::Stopped)));
    assert_eq!((events.try_iter().count(), vm.boot_time()), (0, None));
}

#[test]
fn the_owner_hears_of_a_disk_that_fails() {
    let _turn = TURN.lock();
    let parts = [
        set_up(),
        write_sector(),
        wait_for_the_disk(),
        power_off(),
        spin(),
    ];
    let (vm, events) = start(&parts, |config| {
        config.drives = vec![FailingDisk::drive()];
    });
    assert!(matches!(vm.wait_timeout(SOON), Some(Exit::PowerOff)));
    let Ok(Event::IoError {
        drive,
        operation,
        error,
        unreported,
    }) = events.try_recv()
    else {
        panic!("no error was told");
    };
    assert_eq!((drive, operation, unreported), (0, DiskOperation::Write, 0));
    assert_eq!(error.to_string(), "broken on purpose");
}

/// Goes on with the instructions at `address`.
fn jump(address: u64) -> Vec<u8> {
    // mov rax, address; jmp rax.
    [&[0x48, 0xb8], &address.to_le_bytes()[..], &[0xff, 0xe0]].concat()
}

/// The one event of a VM that fails, and whether it is of the error that the run ended with.
fn failure(parts: &[Vec<u8>], change: impl FnOnce(&mut VmConfig)) -> Arc<RunError> {
    let (vm, events) = start(parts, change);
    let Some(Exit::Failed(reason)) = vm.wait_timeout(SOON) else {
        panic!("the VM does not fail");
    };
    // It was told before the wait returned.
    let told: Vec<Event> = events.try_iter().collect();
    let [Event::Failed { error }] = &told[..] else {
        panic!("{told:?}");
    };
    assert!(Arc::ptr_eq(error, &reason));
    reason
}

#[test]
fn the_owner_hears_why_a_run_failed() {
    let _turn = TURN.lock();
    // There is no instruction that KVM could take from a device's registers.
    let error = failure(&[jump(0xd000_0000)], |_| {});
    assert!(matches!(*error, RunError::Vcpu { vcpu: 0, .. }), "{error}");
    let driver = [set_up(), write_sector(), spin()];
    let error = failure(&driver, |config| {
        config.drives = vec![PanickingDisk::drive()];
    });
    let RunError::ThreadDied { name } = &*error else {
        panic!("{error}");
    };
    assert_eq!(name, "vm-block0");
}

#[test]
fn the_owner_hears_of_a_network_that_is_gone() {
    let _turn = TURN.lock();
    let (vm, events) = start(&[set_up(), spin()], |config| {
        let (ours, peer) = UnixStream::pair().unwrap();
        drop(peer);
        config.nets = vec![Net::new(FrameStream::from_socket(ours).unwrap())];
    });
    let Ok(Event::NetworkLost { net: 0, error }) = events.recv_timeout(SOON) else {
        panic!("no loss was told");
    };
    println!("{error}");
    vm.stop();
    assert!(matches!(vm.wait_timeout(SOON), Some(Exit::Stopped)));
    assert_eq!(events.try_iter().count(), 0);
}

/// A network that hangs when it is asked for a frame, until the other end of its socket is closed.
struct StuckNet(UnixStream);

impl AsFd for StuckNet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl NetBackend for StuckNet {
    fn receive(&mut self, _: &mut [u8], _: &mut OffloadHeader) -> io::Result<usize> {
        let _end = self.0.read(&mut [0])?;
        Err(io::ErrorKind::WouldBlock.into())
    }
    fn send(&mut self, _: &[u8], _: &OffloadHeader) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_owner_hears_of_backends_that_do_not_return_while_their_guests_run() {
    let _turn = TURN.lock();
    let disk = MemoryDisk::new(true);
    let driver = [
        set_up(),
        write_sector(),
        wait_for_the_disk(),
        power_off(),
        spin(),
    ];
    let (with_disk, of_disk) = start(&driver, |config| {
        config.drives = vec![MemoryDisk::drive_of(&disk)];
    });
    let (ours, peer) = UnixStream::pair().unwrap();
    let (with_net, of_net) = start(&[set_up(), spin()], |config| {
        config.nets = vec![Net::new(StuckNet(ours))];
    });
    for (events, name, of) in [
        (&of_disk, "vm-block0", Backend::Drive(0)),
        (&of_net, "vm-net0", Backend::Net(0)),
    ] {
        let Ok(Event::BackendSlow {
            backend,
            thread,
            elapsed,
            ..
        }) = events.recv_timeout(SOON)
        else {
            panic!("nothing was told of {name}");
        };
        assert_eq!((thread.as_str(), backend), (name, of));
        assert!(elapsed >= Duration::from_secs(5), "{elapsed:?}");
    }
    disk.open();
    drop(peer);
    assert!(matches!(with_disk.wait_timeout(SOON), Some(Exit::PowerOff)));
    let told: Vec<Event> = of_disk.try_iter().collect();
    assert!(matches!(told[..], [Event::PowerOffAsked]), "{told:?}");
    with_net.stop();
    assert!(matches!(with_net.wait_timeout(SOON), Some(Exit::Stopped)));
    assert_eq!(of_net.try_iter().count(), 0);
}

#[test]
fn an_owner_that_panics_at_a_slow_backend_ends_its_vm() {
    let _turn = TURN.lock();
    let disk = MemoryDisk::new(true);
    let (vm, _events) = start(&[set_up(), write_sector(), spin()], |config| {
        config.drives = vec![MemoryDisk::drive_of(&disk)];
        let disk = Arc::clone(&disk);
        config.on_event = Some(Box::new(move |_| {
            disk.open();
            panic!("on purpose");
        }));
    });
    let Some(Exit::Failed(error)) = vm.wait_timeout(SOON) else {
        panic!("the VM does not end");
    };
    assert!(matches!(*error, RunError::ThreadDied { .. }), "{error}");
}

#[test]
fn an_owner_that_panics_ends_its_vm_alone() {
    let _turn = TURN.lock();
    let (other, _events) = start(&[spin()], |_| {});
    let parts = [out(BOOT_MARK_PORT, BOOT_MARK_VALUE), spin()];
    let (vm, _events) = start(&parts, |config| {
        config.on_event = Some(Box::new(|_| panic!("on purpose")));
    });
    let Some(Exit::Failed(error)) = vm.wait_timeout(SOON) else {
        panic!("the VM does not end");
    };
    assert!(matches!(*error, RunError::ThreadDied { .. }));
    assert!(other.wait_timeout(Duration::from_millis(20)).is_none());
}

#[test]
fn what_listens_to_events_goes_with_its_vm() {
    let _turn = TURN.lock();
    let token = Arc::new(());
    let kept = Arc::clone(&token);
    let (vm, _events) = start(&[spin()], |config| {
        config.drives = vec![FailingDisk::drive()];
        config.on_event = Some(Box::new(move |_| {
            let _kept = &kept;
        }));
    });
    assert_eq!(Arc::strong_count(&token), 2);
    vm.stop();
    assert!(matches!(vm.wait_timeout(SOON), Some(Exit::Stopped)));
    assert_eq!(Arc::strong_count(&token), 1);
}
