//! Disks whose driver is a few instructions.

use std::io;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

use vmm_core::{
    BlockBackend, Drive, Event, Exit, RateLimit, RateLimiter, RateLimits, ReadTarget, Vm,
    WriteSource,
};

use super::guest::{Screen, config, elf, file, out, print, spin, wait_for, write32};
use super::lifecycle::TURN;

const SOON: Duration = Duration::from_secs(20);
const DISK: usize = 8 * 512;
pub(crate) const SECTOR: u32 = 2;

/// A disk in memory whose writes wait at a gate.
#[derive(Default)]
pub(crate) struct MemoryDisk {
    bytes: Mutex<Vec<u8>>,
    gate: Mutex<Gate>,
    changed: Condvar,
}

#[derive(Default)]
struct Gate {
    closed: bool,
    waiting: bool,
}

impl MemoryDisk {
    pub(crate) fn new(closed: bool) -> Arc<Self> {
        Arc::new(Self {
            bytes: Mutex::new(vec![0; DISK]),
            gate: Mutex::new(Gate {
                closed,
                waiting: false,
            }),
            changed: Condvar::new(),
        })
    }

    pub(crate) fn drive() -> Drive {
        Self::drive_of(&Self::new(false))
    }

    pub(crate) fn drive_of(disk: &Arc<Self>) -> Drive {
        Drive::new(Arc::clone(disk) as Arc<dyn BlockBackend>)
    }

    /// The first bytes of a sector.
    pub(crate) fn sector(&self, sector: u32) -> [u8; 4] {
        let at = sector as usize * 512;
        self.bytes.lock().unwrap()[at..at + 4].try_into().unwrap()
    }

    fn pass_gate(&self) {
        let mut gate = self.gate.lock().unwrap();
        gate.waiting = true;
        self.changed.notify_all();
        drop(self.changed.wait_while(gate, |gate| gate.closed).unwrap());
    }

    pub(crate) fn wait_for_visitor(&self) {
        let gate = self.gate.lock().unwrap();
        drop(self.changed.wait_while(gate, |gate| !gate.waiting).unwrap());
    }

    pub(crate) fn open(&self) {
        self.gate.lock().unwrap().closed = false;
        self.changed.notify_all();
    }
}

impl BlockBackend for MemoryDisk {
    fn size(&self) -> u64 {
        DISK as u64
    }
    fn read_at(&self, target: &mut ReadTarget<'_>, offset: u64) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        target.put(&self.bytes.lock().unwrap()[at..at + target.remaining()])
    }
    fn write_at(&self, source: &mut WriteSource<'_>, offset: u64) -> io::Result<()> {
        self.pass_gate();
        let at = usize::try_from(offset).unwrap();
        source.take(&mut self.bytes.lock().unwrap()[at..at + source.remaining()])
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
    fn discard(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write_at(
            &mut WriteSource::from_slice(&vec![0; usize::try_from(len).unwrap()]),
            offset,
        )
    }
}

/// Registers of the first virtio-mmio device, and memory for its driver.
const DEVICE: u64 = 0xd000_0000;
const STATUS: u64 = DEVICE + 0x70;
const MEMORY: u64 = 0x200_0000;
const AVAILABLE: u64 = MEMORY + 0x1000;
const USED: u64 = MEMORY + 0x2000;
const HEADER: u64 = MEMORY + 0x3000;
const DATA: u64 = MEMORY + 0x4000;
const REQUEST_STATUS: u64 = MEMORY + 0x5000;

/// What a balloon behind the disk is asked for: not zero once the test has called [`Vm::set_balloon_mib`].
const SIGNAL: u64 = DEVICE + 0x1000 + 0x100;

fn low(address: u64) -> u32 {
    u32::try_from(address).unwrap()
}

/// Sets the device up as far as DRIVER_OK, with a queue of eight entries.
pub(crate) fn set_up() -> Vec<u8> {
    let set = |register, value| write32(DEVICE + register, value);
    [
        set(0x70, 0),
        set(0x70, 1 | 2),
        set(0x24, 1),
        set(0x20, 1),
        set(0x70, 1 | 2 | 8),
        set(0x30, 0),
        set(0x38, 8),
        set(0x80, low(MEMORY)),
        set(0x90, low(AVAILABLE)),
        set(0xa0, low(USED)),
        set(0x44, 1),
        set(0x70, 1 | 2 | 8 | 4),
    ]
    .concat()
}

/// Writes one sector of zeroes that begins with `data`, as the first request of the queue.
pub(crate) fn write_sector() -> Vec<u8> {
    let descriptor = |index: u64, address, length, flags: u32, next: u32| {
        let at = MEMORY + index * 16;
        [
            write32(at, low(address)),
            write32(at + 8, length),
            write32(at + 12, flags | next << 16),
        ]
        .concat()
    };
    [
        descriptor(0, HEADER, 16, 1, 1),
        descriptor(1, DATA, 512, 1, 2),
        descriptor(2, REQUEST_STATUS, 1, 2, 0),
        write32(HEADER, 1),
        write32(HEADER + 8, SECTOR),
        write32(DATA, u32::from_le_bytes(*b"data")),
        write32(AVAILABLE, 1 << 16),
        write32(DEVICE + 0x50, 0),
    ]
    .concat()
}

/// Writes the same sector again, beginning with `more`, as the second request.
pub(crate) fn write_again() -> Vec<u8> {
    [
        write32(DATA, u32::from_le_bytes(*b"more")),
        write32(AVAILABLE, 2 << 16),
        write32(DEVICE + 0x50, 0),
    ]
    .concat()
}

/// Waits until the device has answered.
pub(crate) fn wait_for_the_disk() -> Vec<u8> {
    wait_for(USED + 2)
}

/// A disk that fails whatever it is asked for.
pub(crate) struct FailingDisk;

impl FailingDisk {
    pub(crate) fn drive() -> Drive {
        Drive::new(Arc::new(Self))
    }

    fn fail() -> io::Result<()> {
        Err(io::Error::other("broken on purpose"))
    }
}

impl BlockBackend for FailingDisk {
    fn size(&self) -> u64 {
        DISK as u64
    }
    fn read_at(&self, _: &mut ReadTarget<'_>, _: u64) -> io::Result<()> {
        Self::fail()
    }
    fn write_at(&self, _: &mut WriteSource<'_>, _: u64) -> io::Result<()> {
        Self::fail()
    }
    fn flush(&self) -> io::Result<()> {
        Self::fail()
    }
    fn discard(&self, _: u64, _: u64) -> io::Result<()> {
        Self::fail()
    }
    fn write_zeroes(&self, _: u64, _: u64) -> io::Result<()> {
        Self::fail()
    }
}

/// A disk whose code is wrong.
pub(crate) struct PanickingDisk;

impl PanickingDisk {
    pub(crate) fn drive() -> Drive {
        Drive::new(Arc::new(Self))
    }
}

impl BlockBackend for PanickingDisk {
    fn size(&self) -> u64 {
        DISK as u64
    }
    fn read_at(&self, _: &mut ReadTarget<'_>, _: u64) -> io::Result<()> {
        panic!("on purpose")
    }
    fn write_at(&self, _: &mut WriteSource<'_>, _: u64) -> io::Result<()> {
        panic!("on purpose")
    }
    fn flush(&self) -> io::Result<()> {
        panic!("on purpose")
    }
    fn discard(&self, _: u64, _: u64) -> io::Result<()> {
        panic!("on purpose")
    }
    fn write_zeroes(&self, _: u64, _: u64) -> io::Result<()> {
        panic!("on purpose")
    }
}

fn start(disk: &Arc<MemoryDisk>, parts: &[Vec<u8>], screen: &Screen) -> Vm {
    start_drive(MemoryDisk::drive_of(disk), parts, screen)
}

fn start_drive(drive: Drive, parts: &[Vec<u8>], screen: &Screen) -> Vm {
    let (_dir, path) = file(&elf(parts));
    let mut config = config(path, screen);
    config.drives = vec![drive];
    config.balloon = true;
    Vm::start(config).unwrap()
}

#[test]
fn a_driver_of_a_few_instructions_writes_to_its_disk() {
    let _turn = TURN.lock();
    let disk = MemoryDisk::new(false);
    let power_off = out(0x600, 5 << 2 | 1 << 5);
    let parts = [
        set_up(),
        write_sector(),
        wait_for_the_disk(),
        power_off,
        spin(),
    ];
    let vm = start(&disk, &parts, &Screen::default());
    let exit = vm.wait_timeout(SOON);
    assert!(matches!(exit, Some(Exit::PowerOff)), "{exit:?}");
    let bytes = disk.bytes.lock().unwrap();
    assert!(bytes[SECTOR as usize * 512..].starts_with(b"data"));
}

#[test]
fn a_stop_waits_for_a_call_to_the_disk_and_for_nothing_else() {
    let _turn = TURN.lock();
    // The second guest waits for the disk itself: its reset of the device returns when the device has let go.
    let reset = [write32(STATUS, 0), print("reset")].concat();
    for last in [spin(), [wait_for(SIGNAL), reset, spin()].concat()] {
        let disk = MemoryDisk::new(true);
        let screen = Screen::default();
        let vm = start(&disk, &[set_up(), write_sector(), last], &screen);
        disk.wait_for_visitor();
        vm.set_balloon_mib(1).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        vm.stop();
        assert!(vm.wait_timeout(Duration::from_millis(50)).is_none());
        assert_eq!(screen.text(), "");
        disk.open();
        assert!(matches!(vm.wait_timeout(SOON), Some(Exit::Stopped)));
        drop(vm);
        assert_eq!(Arc::strong_count(&disk), 1, "the VM has let go of the disk");
    }
}

#[test]
fn a_stop_that_a_backend_holds_up_says_which_drive_it_is() {
    let _turn = TURN.lock();
    let disk = MemoryDisk::new(true);
    // The guest's processor waits for the disk, too.
    let last = [wait_for(SIGNAL), print("asked"), write32(STATUS, 0), spin()].concat();
    let parts = [set_up(), write_sector(), last];
    let (_dir, path) = file(&elf(&parts));
    let screen = Screen::default();
    let mut config = config(path, &screen);
    config.drives = vec![MemoryDisk::drive_of(&disk)];
    config.balloon = true;
    let (sender, told) = mpsc::channel();
    config.on_event = Some(Box::new(move |event| {
        if let Event::StopDelayed { thread } = event {
            sender.send(thread).unwrap();
        }
    }));
    let vm = Vm::start(config).unwrap();
    disk.wait_for_visitor();
    vm.set_balloon_mib(1).unwrap();
    while screen.text() != "asked" {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(100));
    vm.stop();
    let threads = [(); 2].map(|()| told.recv_timeout(SOON));
    let is_over = vm.wait_timeout(Duration::from_millis(50));
    disk.open();
    assert!(is_over.is_none());
    assert!(matches!(vm.wait_timeout(SOON), Some(Exit::Stopped)));
    let mut threads = threads.map(Result::unwrap);
    threads.sort();
    assert_eq!(threads, ["vm-block0", "vm-vcpu0"]);
    assert!(told.try_recv().is_err());
}

/// A guest whose second write is not due for minutes, which goes on with `last`.
struct Limited {
    vm: Vm,
    disk: Arc<MemoryDisk>,
    limiter: RateLimiter,
    screen: Screen,
}

impl Limited {
    fn start(last: Vec<u8>) -> Self {
        let disk = MemoryDisk::new(false);
        let screen = Screen::default();
        let mut drive = MemoryDisk::drive_of(&disk);
        drive.limiter = RateLimiter::new(RateLimits {
            bytes: Some(RateLimit {
                per_second: 1,
                burst: 1,
            }),
            operations: None,
        })
        .unwrap();
        let limiter = drive.limiter.clone();
        let parts = [
            set_up(),
            write_sector(),
            wait_for(USED + 2),
            write_again(),
            print("asked"),
            last,
            spin(),
        ];
        let vm = start_drive(drive, &parts, &screen);
        Self {
            vm,
            disk,
            limiter,
            screen,
        }
    }

    fn sector(&self) -> String {
        String::from_utf8_lossy(&self.disk.sector(SECTOR)).into_owned()
    }

    fn wait_until(&self, what: impl Fn(&Self) -> bool) {
        let end = Instant::now() + SOON;
        while !what(self) {
            assert!(Instant::now() < end, "{:?}", self.screen.text());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn a_request_that_waits_for_a_limit_holds_up_neither_the_guest_nor_a_stop() {
    let _turn = TURN.lock();
    // The second guest resets the device while the request waits, and gets it back at once.
    for (last, text) in [
        (Vec::new(), "asked"),
        (
            [write32(STATUS, 0), print("+reset")].concat(),
            "asked+reset",
        ),
    ] {
        let guest = Limited::start(last);
        guest.wait_until(|guest| guest.screen.text() == text);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(guest.sector(), "data");
        guest.vm.stop();
        let exit = guest.vm.wait_timeout(SOON);
        assert!(matches!(exit, Some(Exit::Stopped)), "{exit:?}");
        assert_eq!(guest.sector(), "data");
    }
}

#[test]
fn new_limits_hold_for_a_request_that_waits() {
    let _turn = TURN.lock();
    let guest = Limited::start(Vec::new());
    guest.wait_until(|guest| guest.screen.text() == "asked");
    assert_eq!(guest.sector(), "data");
    guest.limiter.set(RateLimits::default()).unwrap();
    guest.wait_until(|guest| guest.sector() == "more");
}
