//! What the embedder's code can ask of the host on the threads of a VM.

mod probes;

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use tempfile::TempDir;
use vmm_core::{
    BOOT_MARK_PORT, BOOT_MARK_VALUE, BlockBackend, Drive, Exit, FileBackend, HostCalls, Net,
    RateLimits, ReadTarget, Seccomp, StartError, Switch, Vm, VmConfig, WriteSource,
};

use self::probes::{Answer, BENIGN, FILES, HARMFUL, OPEN_FILES, OUTWARD, Place, answers};
use super::disk::{set_up, wait_for_the_disk, write_sector};
use super::guest::{Screen, config, elf, file, out, print, spin};
use super::lifecycle::{TURN, assert_left, possessions};

const ALL: &[&[probes::Probe]] = &[&BENIGN, &OPEN_FILES, &FILES, &OUTWARD, &HARMFUL];
const SOON: Duration = Duration::from_secs(20);
/// Set in a copy of this process that is meant to be killed.
const VICTIM: &str = "VMM_CORE_TEST_VICTIM";

/// Tries all that a thread may be allowed to do, and tells what came of it.
struct Prober {
    place: Place,
    tell: Mutex<Sender<Vec<Answer>>>,
    calls: HostCalls,
}

impl Prober {
    fn new(calls: HostCalls) -> (Self, std::sync::mpsc::Receiver<Vec<Answer>>) {
        let (tell, told) = channel();
        let prober = Self {
            place: Place::new(),
            tell: Mutex::new(tell),
            calls,
        };
        (prober, told)
    }

    fn probe(&self) {
        self.tell
            .lock()
            .unwrap()
            .send(answers(&self.place))
            .unwrap();
    }
}

/// Probes for each byte that a guest prints.
impl Write for Prober {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.probe();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Probes for each write of a guest.
impl BlockBackend for Prober {
    fn size(&self) -> u64 {
        4096
    }
    fn read_at(&self, target: &mut ReadTarget<'_>, _: u64) -> io::Result<()> {
        target.put_zeroes(target.remaining())
    }
    fn write_at(&self, source: &mut WriteSource<'_>, _: u64) -> io::Result<()> {
        source.take(&mut vec![0; source.remaining()])?;
        self.probe();
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
    fn discard(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn write_zeroes(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn host_calls(&self) -> HostCalls {
        self.calls
    }
}

fn power_off() -> Vec<u8> {
    out(0x600, 5 << 2 | 1 << 5)
}

fn run(parts: &[Vec<u8>], change: impl FnOnce(&mut VmConfig)) -> Exit {
    let (_dir, path) = file(&elf(&[parts.concat(), power_off(), spin()]));
    let mut config = config(path, &Screen::default());
    change(&mut config);
    let vm = Vm::start(config).unwrap();
    vm.wait_timeout(SOON).expect("the guest ends by itself")
}

/// All those of `allowed` must have worked, and nothing else.
fn assert_allowed(answers: &[Answer], allowed: &[&[probes::Probe]]) {
    for (name, errno) in answers {
        let is_allowed = allowed.iter().any(|set| set.iter().any(|(n, _)| n == name));
        let expected = if is_allowed { None } else { Some(libc::EPERM) };
        assert_eq!(*errno, expected, "{name}");
    }
    assert_eq!(answers.len(), ALL.concat().len());
}

#[test]
fn the_console_writes_to_what_is_open_and_opens_nothing() {
    let _turn = TURN.lock();
    let (prober, told) = Prober::new(HostCalls::Any);
    let exit = run(&[print("x")], |config| config.console = Box::new(prober));
    assert!(matches!(exit, Exit::PowerOff), "{exit:?}");
    assert_allowed(&told.recv().unwrap(), &[&BENIGN]);
}

#[test]
fn who_hears_of_events_writes_to_what_is_open_and_opens_nothing() {
    let _turn = TURN.lock();
    let (prober, told) = Prober::new(HostCalls::Any);
    let exit = run(&[out(BOOT_MARK_PORT, BOOT_MARK_VALUE)], |config| {
        config.on_event = Some(Box::new(move |_| prober.probe()));
    });
    assert!(matches!(exit, Exit::PowerOff), "{exit:?}");
    for event in ["booted", "power off"] {
        assert_allowed(&told.recv().expect(event), &[&BENIGN]);
    }
}

#[test]
fn a_disk_may_do_what_it_says_that_it_does() {
    let _turn = TURN.lock();
    for (calls, allowed) in [
        (HostCalls::Descriptors, &[&BENIGN[..]][..]),
        (HostCalls::OpenFiles, &[&BENIGN, &OPEN_FILES]),
        (HostCalls::Files, &[&BENIGN, &OPEN_FILES, &FILES]),
        (HostCalls::Any, ALL),
    ] {
        let (prober, told) = Prober::new(calls);
        let parts = [set_up(), write_sector(), wait_for_the_disk()];
        let exit = run(&parts, |config| {
            config.drives = vec![Drive::new(Arc::new(prober))];
        });
        assert!(matches!(exit, Exit::PowerOff), "{exit:?}");
        assert_allowed(&told.recv().unwrap(), allowed);
    }
}

#[test]
fn without_filters_everything_is_allowed_everywhere() {
    let _turn = TURN.lock();
    let (prober, told) = Prober::new(HostCalls::Descriptors);
    let exit = run(&[print("x")], |config| {
        config.seccomp = Seccomp::Off;
        config.console = Box::new(prober);
    });
    assert!(matches!(exit, Exit::PowerOff), "{exit:?}");
    assert_allowed(&told.recv().unwrap(), ALL);
}

/// A console that does what it must not: twice what any library may try, and then worse.
struct Intruder(Sender<Option<i32>>);

impl Write for Intruder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let opened = std::fs::File::open("/dev/null");
        let linked = std::fs::read_link("/proc/self/exe");
        for error in [opened.err(), linked.err()] {
            let errno = error.and_then(|error| error.raw_os_error());
            self.0.send(errno).map_err(io::Error::other)?;
        }
        if std::env::var_os(VICTIM).is_some() {
            std::os::unix::net::UnixStream::pair()?;
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_call_that_is_not_listed_kills_the_process_if_that_is_asked_for() {
    let _turn = TURN.lock();
    let (tell, told) = channel();
    let exit = run(&[print("x")], |config| {
        config.seccomp = Seccomp::Kill;
        config.console = Box::new(Intruder(tell));
    });
    assert!(matches!(exit, Exit::PowerOff), "{exit:?}");
    assert_eq!(told.iter().collect::<Vec<_>>(), [Some(libc::EPERM); 2]);
    assert!(std::env::var_os(VICTIM).is_none(), "the victim lives");
    let name = "seccomp::a_call_that_is_not_listed_kills_the_process_if_that_is_asked_for";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(VICTIM, "yes")
        .output()
        .unwrap();
    let signal = output.status.signal();
    assert_eq!(signal, Some(libc::SIGSYS), "{output:?}");
}

/// A console that aborts.
struct Aborter;

impl Write for Aborter {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        std::process::abort()
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_abort_ends_the_process_although_the_thread_can_signal_nobody() {
    let _turn = TURN.lock();
    if std::env::var_os(VICTIM).is_some() {
        let exit = run(&[print("x")], |config| config.console = Box::new(Aborter));
        panic!("the victim lives: {exit:?}");
    }
    let name = "seccomp::an_abort_ends_the_process_although_the_thread_can_signal_nobody";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(VICTIM, "yes")
        .output()
        .unwrap();
    let signal = output.status.signal();
    assert_eq!(signal, Some(libc::SIGSEGV), "{output:?}");
}

/// What a client of a VM's socket says gets it nothing but the end.
fn assert_refused(door: &Path, line: &[u8]) {
    let mut client = UnixStream::connect(door).unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    client.write_all(line).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn the_socket_of_a_vsock_device_takes_clients_and_goes_under_either_filter() {
    let _turn = TURN.lock();
    for seccomp in [Seccomp::Refuse, Seccomp::Kill] {
        let folder = TempDir::new().unwrap();
        let door = folder.path().join("vsock");
        let (_dir, path) = file(&elf(&[spin()]));
        let mut config = config(path, &Screen::default());
        config.seccomp = seccomp;
        config.vsock_cid = Some(3);
        config.vsock_socket = Some(door.clone());
        let vm = Vm::start(config).unwrap();
        assert_refused(&door, b"CONNECT nowhere\n");
        vm.stop();
        assert!(matches!(vm.wait_timeout(SOON), Some(Exit::Stopped)));
        assert!(!door.exists(), "{seccomp:?}");
    }
}

/// Were a call of the VMM's own missing from the lists, this would kill the tests.
#[test]
fn a_machine_with_all_devices_makes_no_call_that_is_not_listed() {
    let _turn = TURN.lock();
    let folder = TempDir::new().unwrap();
    let disk = folder.path().join("disk");
    std::fs::write(&disk, [0; 4096]).unwrap();
    let mut drive = Drive::new(Arc::new(FileBackend::open(&disk, false).unwrap()));
    drive.queues = 2;
    let limiter = drive.limiter.clone();
    let switch = Switch::new();
    let parts = [
        set_up(),
        write_sector(),
        wait_for_the_disk(),
        print("done"),
        spin(),
    ];
    let (_dir, path) = file(&elf(&parts));
    let screen = Screen::default();
    let mut config = config(path, &screen);
    config.seccomp = Seccomp::Kill;
    config.vcpus = 2;
    config.drives = vec![drive];
    config.nets = vec![Net::new(switch.port().unwrap())];
    config.vsock_cid = Some(3);
    let door = folder.path().join("vsock");
    config.vsock_socket = Some(door.clone());
    config.balloon = true;
    config.watchdog = true;
    config.on_event = Some(Box::new(|_| {}));
    let vm = Vm::start(config).unwrap();
    let begun = std::time::Instant::now();
    while screen.text() != "done" {
        assert!(begun.elapsed() < SOON, "{:?}", screen.text());
        thread::sleep(Duration::from_millis(1));
    }
    assert_refused(&door, b"CONNECT nowhere\n");
    vm.pause();
    limiter.set(RateLimits::default()).unwrap();
    vm.set_balloon_mib(16).unwrap();
    vm.resume();
    vm.press_power_button();
    vm.stop();
    assert!(matches!(vm.wait_timeout(SOON), Some(Exit::Stopped)));
    assert!(!door.exists(), "the socket goes with the VM");
    assert!(std::fs::read(&disk).unwrap()[1024..].starts_with(b"data"));
}

/// Makes `seccomp(2)` fail for this thread and those that it starts.
pub(crate) fn allow_no_filters() {
    let rules = [(libc::SYS_seccomp, Vec::new())].into();
    let refuse = SeccompAction::Errno(libc::EACCES.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).unwrap();
    let program = BpfProgram::try_from(filter).unwrap();
    apply_filter(&program).unwrap();
}

#[test]
fn a_host_that_does_not_filter_is_an_error_before_the_guest_runs() {
    let _turn = TURN.lock();
    let before = possessions();
    let (_dir, path) = file(&elf(&[print("x"), spin()]));
    let screen = Screen::default();
    let start = |seccomp| {
        let mut config = config(path.clone(), &screen);
        config.seccomp = seccomp;
        Vm::start(config).map(drop)
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            allow_no_filters();
            let error = start(Seccomp::Refuse).unwrap_err();
            let StartError::Seccomp { thread, source } = &error else {
                panic!("{error:?}");
            };
            assert!(thread.starts_with("vm-"), "{thread}");
            assert_eq!(source.raw_os_error(), Some(libc::EACCES));
            assert_eq!(screen.text(), "");
            start(Seccomp::Off).unwrap();
        });
    });
    assert_left(before);
}
