//! What each of many VMs should be doing, and the operations that change that.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vmm_core::{
    BOOT_MARK_PORT, BOOT_MARK_VALUE, BalloonError, Drive, Exit, FileBackend, Kernel,
    MIN_MEMORY_MIB, Net, NetBackend, OffloadHeader, Switch, SwitchPort, Vm, VmConfig,
};

use super::super::guest::{elf_at, file, out, write32};

const SOON: Duration = Duration::from_secs(30);
const DISK_BYTES: u64 = 64 << 10;
const POWER_BUTTON_GSI: u32 = 3;
const VECTOR: u32 = 0x30;
/// Where the smallest machine has room for a kernel.
const KERNEL: u64 = 2 << 20;

/// Sleeps for ever.
fn sleep() -> Vec<u8> {
    vec![0xfa, 0xf4, 0xeb, 0xfd]
}

fn booted() -> Vec<u8> {
    out(BOOT_MARK_PORT, BOOT_MARK_VALUE)
}

/// Sleeps until the power button's interrupt, for which there is no handler, which resets the machine.
fn sleep_until_the_button() -> Vec<u8> {
    let io_apic =
        |register, value| [write32(0xfec0_0000, register), write32(0xfec0_0010, value)].concat();
    let entry = 0x10 + 2 * POWER_BUTTON_GSI;
    [
        io_apic(entry + 1, 0),
        io_apic(entry, VECTOR),
        // The local APIC's spurious interrupt vector register: on.
        write32(0xfee0_00f0, 0x1ff),
        booted(),
        vec![0xfb, 0xf4, 0xeb, 0xfd],
    ]
    .concat()
}

/// Sets the watchdog to a tenth of a second, starts it, and sleeps.
fn sleep_until_the_watchdog() -> Vec<u8> {
    let count = vec![0x66, 0xba, 0x10, 0x06, 0x66, 0xb8, 0x01, 0x00, 0x66, 0xef];
    [count, out(0x612, 1), booted(), sleep()].concat()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Does nothing.
    Sleeper,
    /// Resets itself when its power button is pressed.
    Obedient,
    /// Resets itself at once.
    Mortal,
    /// Is reset by its watchdog soon.
    Watched,
}

/// What VMs are made of.
pub(super) struct Supplies {
    _dirs: Vec<TempDir>,
    disks: TempDir,
    paths: [PathBuf; 4],
    kernels: [Kernel; 4],
    switch: Switch,
}

impl Supplies {
    pub(super) fn new() -> Self {
        let guests = [
            [booted(), sleep()].concat(),
            sleep_until_the_button(),
            [booted(), out(0x64, 0xfe), sleep()].concat(),
            sleep_until_the_watchdog(),
        ];
        let files = guests.map(|guest| file(&elf_at(KERNEL, &[guest])));
        let paths = files.each_ref().map(|(_, path)| path.clone());
        Self {
            kernels: paths.each_ref().map(|path| Kernel::open(path).unwrap()),
            paths,
            _dirs: files.into_iter().map(|(dir, _)| dir).collect(),
            disks: TempDir::new().unwrap(),
            switch: Switch::new(),
        }
    }

    /// The smallest machine, with a kernel of its own or one that VMs share.
    fn config(&self, kind: Kind, shares_kernel: bool) -> VmConfig {
        let mut config = match shares_kernel {
            true => VmConfig::new(self.kernels[kind as usize].clone()),
            false => VmConfig::new(&self.paths[kind as usize]),
        };
        config.command_line = String::new();
        config.memory_mib = MIN_MEMORY_MIB;
        config.watchdog = kind == Kind::Watched;
        config
    }

    fn add_all_devices(&self, config: &mut VmConfig, number: u64) {
        let path = self.disks.path().join(number.to_string());
        let disk = std::fs::File::create(&path).unwrap();
        disk.set_len(DISK_BYTES).unwrap();
        let disk = FileBackend::open(&path, false).unwrap();
        config.drives = vec![Drive::new(Arc::new(disk))];
        config.nets = vec![Net::new(self.switch.port().unwrap())];
        config.vsock_cid = Some(3);
        config.vsock_socket = Some(self.disks.path().join(format!("vsock-{number}")));
        config.balloon = true;
        config.watchdog = true;
    }

    /// A guest that sleeps, and has booted; each VM has a number of its own.
    pub(super) fn start_with_all_devices(&self, number: u64) -> Vm {
        let mut config = self.config(Kind::Sleeper, true);
        self.add_all_devices(&mut config, number);
        let vm = Vm::start(config).unwrap();
        wait_until_booted(&vm);
        vm
    }
}

fn wait_until_booted(vm: &Vm) {
    let begun = Instant::now();
    while vm.boot_time().is_none() {
        assert!(begun.elapsed() < SOON, "the guest boots");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Stopped,
    Reboot,
}

impl Ending {
    fn of(exit: Exit) -> Self {
        match exit {
            Exit::Stopped => Self::Stopped,
            Exit::Reboot => Self::Reboot,
            other => panic!("{other:?}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Paused {
        /// Whether the power button was pressed meanwhile.
        pressed: bool,
    },
    /// Its watchdog ends it.
    Dying,
    Ended(Ending),
}

struct Slot {
    vm: Vm,
    kind: Kind,
    has_all_devices: bool,
    /// Where other processes reach its vsock.
    socket: Option<PathBuf>,
    state: State,
}

impl Slot {
    fn check(&self) {
        let exit = self.vm.wait_timeout(Duration::ZERO).map(Ending::of);
        match self.state {
            State::Running | State::Paused { .. } => assert_eq!(exit, None),
            State::Dying => assert!(matches!(exit, None | Some(Ending::Reboot))),
            State::Ended(ending) => assert_eq!(exit, Some(ending)),
        }
    }

    fn ends(&mut self, ending: Ending) {
        let exit = self.vm.wait_timeout(SOON).expect("the run ends");
        assert_eq!(Ending::of(exit), ending);
        self.state = State::Ended(ending);
    }
}

/// VMs and what they should be doing.
pub(super) struct Model<'a> {
    supplies: &'a Supplies,
    random: u64,
    slots: Vec<Option<Slot>>,
    /// A port of the host's on the VMs' network.
    port: SwitchPort,
    started: u64,
    done: BTreeMap<&'static str, u32>,
}

impl<'a> Model<'a> {
    pub(super) fn new(supplies: &'a Supplies, seed: u64, vms: usize) -> Self {
        Self {
            supplies,
            random: seed | 1 << 63,
            slots: (0..vms).map(|_| None).collect(),
            port: supplies.switch.port().unwrap(),
            started: 0,
            done: BTreeMap::new(),
        }
    }

    /// A number below `limit` (Marsaglia's xorshift).
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % limit as u64).unwrap()
    }

    /// Starts what has not been started.
    pub(super) fn fill(&mut self) {
        for index in 0..self.slots.len() {
            if self.slots[index].is_none() {
                self.start(index);
            }
        }
    }

    fn start(&mut self, index: usize) {
        let kind = match self.below(10) {
            0 => Kind::Mortal,
            1 => Kind::Watched,
            2..6 => Kind::Obedient,
            _ => Kind::Sleeper,
        };
        let shares_kernel = self.below(2) == 0;
        let mut config = self.supplies.config(kind, shares_kernel);
        let has_all_devices = self.below(3) == 0;
        if has_all_devices {
            self.supplies.add_all_devices(&mut config, self.started);
        }
        config.vcpus = if self.below(8) == 0 { 2 } else { 1 };
        let socket = config.vsock_socket.clone();
        self.started += 1;
        let vm = Vm::start(config).unwrap();
        // Sleepers may be treated before they have begun.
        if matches!(kind, Kind::Obedient | Kind::Watched) {
            wait_until_booted(&vm);
        }
        let mut slot = Slot {
            vm,
            kind,
            has_all_devices,
            socket,
            state: match kind {
                Kind::Watched => State::Dying,
                _ => State::Running,
            },
        };
        if kind == Kind::Mortal {
            slot.ends(Ending::Reboot);
        }
        self.slots[index] = Some(slot);
    }

    /// Does something to some VM, and looks at all of them.
    pub(super) fn step(&mut self) {
        let index = self.below(self.slots.len());
        let choice = self.below(16);
        let amount = self.below(usize::from(u16::MAX));
        let name = match &mut self.slots[index] {
            None => {
                self.start(index);
                "start"
            }
            Some(slot) => match (slot.state, choice) {
                (_, 0) | (State::Ended(_), 8..) => {
                    self.slots[index] = None;
                    "drop"
                }
                (State::Dying, _) => {
                    slot.ends(Ending::Reboot);
                    "wait for the watchdog"
                }
                (_, 1) => slot.balloon(amount),
                (_, 2) => slot.connect(),
                (_, 3) => {
                    let mut frame = [0x55; 64];
                    frame[..6].fill(0xff);
                    self.port.send(&frame, &OffloadHeader::default()).unwrap();
                    "broadcast"
                }
                (_, 4) => slot.stop(),
                (_, 5..8) => slot.press(),
                (_, 8..12) => slot.pause(),
                _ => slot.resume(),
            },
        };
        *self.done.entry(name).or_default() += 1;
        for slot in self.slots.iter().flatten() {
            slot.check();
        }
    }

    pub(super) fn end_all(&mut self) {
        for slot in self.slots.iter_mut().flatten() {
            if slot.state == State::Dying {
                slot.ends(Ending::Reboot);
            }
            slot.stop();
        }
        self.slots.clear();
    }

    pub(super) fn report(&self) {
        println!("{} VMs started; {:?}", self.started, self.done);
    }
}

impl Slot {
    fn pause(&mut self) -> &'static str {
        self.vm.pause();
        if self.state == State::Running {
            self.state = State::Paused { pressed: false };
        }
        "pause"
    }

    fn resume(&mut self) -> &'static str {
        self.vm.resume();
        match self.state {
            State::Paused { pressed: true } => self.ends(Ending::Reboot),
            State::Paused { pressed: false } => self.state = State::Running,
            _ => {}
        }
        "resume"
    }

    fn press(&mut self) -> &'static str {
        self.vm.press_power_button();
        if self.kind == Kind::Obedient {
            match self.state {
                State::Running => self.ends(Ending::Reboot),
                State::Paused { .. } => self.state = State::Paused { pressed: true },
                _ => {}
            }
        }
        "press"
    }

    fn stop(&mut self) -> &'static str {
        self.vm.handle().stop();
        match self.state {
            State::Ended(ending) => self.ends(ending),
            _ => self.ends(Ending::Stopped),
        }
        "stop"
    }

    /// Asks for some of the guest's memory; it has no driver for that.
    fn balloon(&mut self, amount: usize) -> &'static str {
        let mib = u32::try_from(amount).unwrap() % (MIN_MEMORY_MIB + 2);
        let asked = self.vm.set_balloon_mib(mib);
        let is_right = match asked {
            Ok(()) => self.has_all_devices && mib <= MIN_MEMORY_MIB,
            Err(BalloonError::NoBalloon) => !self.has_all_devices,
            Err(_) => mib > MIN_MEMORY_MIB,
        };
        assert!(is_right, "{asked:?} for {mib} MiB");
        assert_eq!(self.vm.balloon_mib(), self.has_all_devices.then_some(0));
        "balloon"
    }

    /// Connects to the guest, which has no driver that would answer.
    fn connect(&mut self) -> &'static str {
        let Some(vsock) = self.vm.vsock() else {
            assert!(!self.has_all_devices);
            return "no vsock";
        };
        let error = vsock.connect(1, Duration::ZERO).unwrap_err().kind();
        let expected = match self.state {
            State::Ended(_) => ErrorKind::BrokenPipe,
            _ => ErrorKind::TimedOut,
        };
        assert_eq!(error, expected);
        let client = self.socket.as_ref().map(UnixStream::connect);
        match (self.state, client) {
            (State::Ended(_), Some(client)) => assert!(client.is_err(), "the socket is gone"),
            // It may end at any moment.
            (State::Dying, _) | (_, None) => {}
            (_, Some(client)) => client.unwrap().write_all(b"CONNECT 1\n").unwrap(),
        }
        "connect"
    }
}
