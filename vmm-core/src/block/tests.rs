use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use virtio_bindings::bindings::virtio_blk as blk;
use virtio_bindings::bindings::virtio_ring::{VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::mock::MockSplitQueue;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::EventFd;

use super::*;
use crate::config::Drive;
use crate::memory::{Memory, map_private};
use crate::virtio::{Event, Handler, Interrupt, LiveConfig, ServedQueue};
use crate::{RateLimit, RateLimiter, RateLimits};

const DISK: usize = 64 * 512;
const HEADER: u64 = 0x10_0000;
const DATA: u64 = 0x20_0000;
const STATUS: u64 = 0x30_0000;

#[derive(Default)]
struct Disk {
    bytes: Mutex<Vec<u8>>,
    flushes: AtomicUsize,
    fails: AtomicBool,
}

impl Disk {
    fn check(&self) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("on purpose"));
        }
        Ok(())
    }
}

impl BlockBackend for Disk {
    fn size(&self) -> u64 {
        DISK as u64
    }
    fn read_at(&self, target: &mut ReadTarget<'_>, offset: u64) -> io::Result<()> {
        self.check()?;
        let at = usize::try_from(offset).unwrap();
        target.put(&self.bytes.lock().unwrap()[at..at + target.remaining()])
    }
    fn write_at(&self, source: &mut WriteSource<'_>, offset: u64) -> io::Result<()> {
        self.check()?;
        let at = usize::try_from(offset).unwrap();
        source.take(&mut self.bytes.lock().unwrap()[at..at + source.remaining()])
    }
    fn flush(&self) -> io::Result<()> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        self.check()
    }
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write_zeroes(offset, len)
    }
    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write_at(
            &mut WriteSource::from_slice(&vec![0; usize::try_from(len).unwrap()]),
            offset,
        )
    }
}

/// A driver and its device, fresh for each request.
struct Bench {
    memory: Memory,
    disk: Arc<Disk>,
    device: Block,
    stopping: Arc<AtomicBool>,
}

impl Bench {
    fn new(read_only: bool) -> Self {
        let disk = Arc::new(Disk {
            bytes: Mutex::new((0u8..64).flat_map(|sector| [sector; 512]).collect()),
            ..Disk::default()
        });
        let mut drive = Drive::new(Arc::clone(&disk) as Arc<dyn BlockBackend>);
        drive.read_only = read_only;
        drive.serial = "the serial".to_owned();
        let stopping = Arc::new(AtomicBool::new(false));
        let mut device = Block::new(&drive, Arc::clone(&stopping)).unwrap();
        device.activate(info(&drive).features);
        Self {
            memory: crate::memory::map(16).unwrap(),
            disk,
            device,
            stopping,
        }
    }

    fn use_drive(&mut self, drive: &Drive) {
        self.device = Block::new(drive, Arc::clone(&self.stopping)).unwrap();
        self.device.activate(info(drive).features);
    }

    /// Sends a chain of `(address, length, writable)`; returns the used length.
    fn send(&mut self, parts: &[(u64, u32, bool)]) -> u32 {
        self.send_until(parts, false)
    }

    /// As `send`, of a chain whose last descriptor leads out of the table if `goes_on`.
    fn send_until(&mut self, parts: &[(u64, u32, bool)], goes_on: bool) -> u32 {
        let memory = self.memory.clone();
        memory.write_slice(&[0; 0x1000], GuestAddress(0)).unwrap();
        let ring = MockSplitQueue::new(&memory, 16);
        let descriptors: Vec<_> = (1u16..)
            .zip(parts)
            .map(|(next, (address, length, writable))| {
                let mut flags = u32::from(*writable) * VRING_DESC_F_WRITE;
                if usize::from(next) < parts.len() {
                    flags |= VRING_DESC_F_NEXT;
                }
                let flags = u16::try_from(flags).unwrap();
                RawDescriptor::from(Descriptor::new(*address, *length, flags, next))
            })
            .collect();
        ring.add_desc_chains(&descriptors, 0).unwrap();
        if goes_on {
            let last = u16::try_from(parts.len() - 1).unwrap();
            let table = ring.desc_table();
            let end = Descriptor::from(table.load(last).unwrap());
            let flags = end.flags() | u16::try_from(VRING_DESC_F_NEXT).unwrap();
            let end = Descriptor::new(end.addr().0, end.len(), flags, 99);
            table.store(last, RawDescriptor::from(end)).unwrap();
        }
        let interrupt = Interrupt::new().unwrap();
        let mut queues = [ServedQueue::new(
            ring.create_queue().unwrap(),
            memory.clone(),
            interrupt.clone(),
            Arc::new(EventFd::new(0).unwrap()),
        )];
        assert!(queues[0].is_sane());
        self.device.serve(Event::Queue(0), &mut queues).unwrap();
        assert_eq!(ring.used().idx().load(), 1, "the request came back");
        assert_eq!(interrupt.pending(), 1);
        ring.used().ring().ref_at(0).unwrap().load().len()
    }

    fn header(&self, kind: u32, sector: u64) {
        let mut header = kind.to_le_bytes().to_vec();
        header.extend([0; 4]);
        header.extend(sector.to_le_bytes());
        self.memory
            .write_slice(&header, GuestAddress(HEADER))
            .unwrap();
        self.memory.write_obj(0xaau8, GuestAddress(STATUS)).unwrap();
    }

    fn status(&self) -> u32 {
        self.memory
            .read_obj::<u8>(GuestAddress(STATUS))
            .unwrap()
            .into()
    }

    /// A whole request of the usual shape; returns its status.
    fn request(&mut self, kind: u32, sector: u64, length: u32, to_guest: bool) -> u32 {
        self.header(kind, sector);
        let mut parts = vec![
            (HEADER, 16, false),
            (DATA, length, to_guest),
            (STATUS, 1, true),
        ];
        if length == 0 {
            parts.remove(1);
        }
        self.send(&parts);
        self.status()
    }

    fn data(&self, length: usize) -> Vec<u8> {
        let mut data = vec![0; length];
        self.memory
            .read_slice(&mut data, GuestAddress(DATA))
            .unwrap();
        data
    }

    fn set_data(&self, data: &[u8]) {
        self.memory.write_slice(data, GuestAddress(DATA)).unwrap();
    }

    fn range(&mut self, kind: u32, sector: u64, sectors: u32, flags: u32) -> u32 {
        let mut range = sector.to_le_bytes().to_vec();
        range.extend(sectors.to_le_bytes());
        range.extend(flags.to_le_bytes());
        self.set_data(&range);
        self.request(kind, 0, 16, false)
    }
}

#[test]
fn reads_and_writes_reach_the_right_sectors() {
    let mut bench = Bench::new(false);
    assert_eq!(bench.request(blk::VIRTIO_BLK_T_IN, 3, 1024, true), 0);
    assert_eq!(bench.data(1024), [[3; 512], [4; 512]].concat());
    bench.set_data(&[9; 512]);
    assert_eq!(bench.request(blk::VIRTIO_BLK_T_OUT, 63, 512, false), 0);
    assert_eq!(bench.disk.bytes.lock().unwrap()[63 * 512..], [9; 512]);
}

#[test]
fn data_may_be_cut_anywhere() {
    let mut bench = Bench::new(false);
    bench.header(blk::VIRTIO_BLK_T_IN, 1);
    let used = bench.send(&[
        (HEADER, 7, false),
        (HEADER + 7, 9, false),
        (DATA, 1, true),
        (DATA + 1, 0, true),
        (DATA + 1, 510, true),
        (STATUS - 1, 2, true),
    ]);
    assert_eq!((used, bench.status()), (513, 0));
    assert_eq!(bench.data(511), [1; 511]);
}

#[test]
fn requests_past_the_end_are_refused() {
    let mut bench = Bench::new(false);
    for (sector, length) in [
        (64, 512),
        (63, 1024),
        (u64::MAX, 512),
        (1 << 55, 512),
        (0, 511),
    ] {
        for (kind, to_guest) in [(blk::VIRTIO_BLK_T_IN, true), (blk::VIRTIO_BLK_T_OUT, false)] {
            let status = bench.request(kind, sector, length, to_guest);
            assert_eq!(status, blk::VIRTIO_BLK_S_IOERR);
        }
    }
}

#[test]
fn a_failing_backend_gives_an_io_error() {
    let mut bench = Bench::new(false);
    bench.disk.fails.store(true, Ordering::SeqCst);
    for (kind, length) in [
        (blk::VIRTIO_BLK_T_IN, 512),
        (blk::VIRTIO_BLK_T_OUT, 512),
        (blk::VIRTIO_BLK_T_FLUSH, 0),
    ] {
        let status = bench.request(kind, 0, length, kind == blk::VIRTIO_BLK_T_IN);
        assert_eq!(status, blk::VIRTIO_BLK_S_IOERR);
    }
}

#[test]
fn a_stopping_vm_does_no_more_io() {
    let mut bench = Bench::new(false);
    bench.stopping.store(true, Ordering::SeqCst);
    let error = blk::VIRTIO_BLK_S_IOERR;
    assert_eq!(bench.request(blk::VIRTIO_BLK_T_OUT, 0, 512, false), error);
    assert_eq!(bench.request(blk::VIRTIO_BLK_T_FLUSH, 0, 0, false), error);
    assert_eq!(bench.disk.flushes.load(Ordering::SeqCst), 0);
}

#[test]
fn ranges_are_limited_as_the_driver_is_told() {
    #[derive(Default)]
    struct Huge {
        bytes: AtomicUsize,
        longest: AtomicUsize,
    }
    impl BlockBackend for Huge {
        fn size(&self) -> u64 {
            1 << 40
        }
        fn read_at(&self, _: &mut ReadTarget<'_>, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn write_at(&self, _: &mut WriteSource<'_>, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
        fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
            let len = usize::try_from(len).unwrap();
            let before = self.bytes.fetch_add(len, Ordering::SeqCst) as u64;
            assert_eq!(offset, before % (2 << 30), "piece after piece");
            self.longest.fetch_max(len, Ordering::SeqCst);
            Ok(())
        }
        fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
            self.discard(offset, len)
        }
    }
    let huge = Arc::new(Huge::default());
    let mut bench = Bench::new(false);
    bench.use_drive(&Drive::new(Arc::clone(&huge) as Arc<dyn BlockBackend>));
    for kind in [blk::VIRTIO_BLK_T_DISCARD, blk::VIRTIO_BLK_T_WRITE_ZEROES] {
        assert_eq!(bench.range(kind, 0, 1 << 22, 0), 0);
        assert!(huge.longest.load(Ordering::SeqCst) <= MAX_RANGE_CALL_BYTES);
        let status = bench.range(kind, 0, (1 << 22) + 1, 0);
        assert_eq!(status, blk::VIRTIO_BLK_S_IOERR);
    }
    assert_eq!(huge.bytes.load(Ordering::SeqCst), 4 << 30);
}

#[test]
fn the_serial_number_is_padded_with_zeroes() {
    let mut bench = Bench::new(false);
    assert_eq!(bench.request(blk::VIRTIO_BLK_T_GET_ID, 0, 20, true), 0);
    assert_eq!(bench.data(20), b"the serial\0\0\0\0\0\0\0\0\0\0");
}

#[test]
fn a_read_only_drive_refuses_to_change() {
    let mut bench = Bench::new(true);
    let error = blk::VIRTIO_BLK_S_IOERR;
    assert_eq!(bench.request(blk::VIRTIO_BLK_T_OUT, 0, 512, false), error);
    assert_eq!(bench.range(blk::VIRTIO_BLK_T_DISCARD, 0, 1, 0), error);
    assert_eq!(bench.request(blk::VIRTIO_BLK_T_IN, 0, 512, true), 0);
    assert_eq!(bench.request(blk::VIRTIO_BLK_T_FLUSH, 0, 0, false), 0);
    assert_eq!(bench.disk.flushes.load(Ordering::SeqCst), 0);
}

#[test]
fn ranges_are_checked_before_they_are_zeroed() {
    let mut bench = Bench::new(false);
    let zero = blk::VIRTIO_BLK_T_WRITE_ZEROES;
    assert_eq!(bench.range(zero, 5, 2, 1), 0);
    let bytes = bench.disk.bytes.lock().unwrap().clone();
    assert_eq!(bytes[4 * 512..5 * 512], [4; 512]);
    assert_eq!(bytes[5 * 512..7 * 512], [0; 1024]);
    assert_eq!(bench.range(zero, 63, 2, 0), blk::VIRTIO_BLK_S_IOERR);
    assert_eq!(bench.range(zero, 0, 0, 0), blk::VIRTIO_BLK_S_IOERR);
    assert_eq!(bench.range(zero, 0, 1, 2), blk::VIRTIO_BLK_S_UNSUPP);
    let discard = blk::VIRTIO_BLK_T_DISCARD;
    assert_eq!(bench.range(discard, 0, 1, 1), blk::VIRTIO_BLK_S_UNSUPP);
    assert_eq!(
        bench.request(discard, 0, 2 * 16, false),
        blk::VIRTIO_BLK_S_IOERR
    );
}

#[test]
fn writes_are_durable_at_once_for_a_driver_that_does_not_flush() {
    let mut bench = Bench::new(false);
    bench.request(blk::VIRTIO_BLK_T_OUT, 0, 512, false);
    assert_eq!(bench.disk.flushes.load(Ordering::SeqCst), 0);
    bench.device.activate(0);
    bench.request(blk::VIRTIO_BLK_T_OUT, 0, 512, false);
    assert_eq!(bench.disk.flushes.load(Ordering::SeqCst), 1);
}

#[test]
fn a_driver_may_choose_that_each_write_is_durable_at_once() {
    let mut bench = Bench::new(false);
    let drive = Drive::new(Arc::clone(&bench.disk) as Arc<dyn BlockBackend>);
    let config = ConfigSpace::of(&drive);
    let device = Block::new(&drive, Arc::clone(&bench.stopping)).unwrap();
    bench.device = device.sharing(&config);
    let writeback = |config: &ConfigSpace| {
        let mut field = [7];
        config.read(32, &mut field);
        field[0]
    };
    let flushes = |bench: &mut Bench| {
        assert_eq!(bench.request(blk::VIRTIO_BLK_T_OUT, 0, 512, false), 0);
        bench.disk.flushes.swap(0, Ordering::SeqCst)
    };
    // Without the feature, what it writes there means nothing.
    let wce = 1 << blk::VIRTIO_BLK_F_CONFIG_WCE;
    let offered = info(&drive).features;
    assert_ne!(offered & wce, 0);
    bench.device.activate(offered & !wce);
    config.write(offered & !wce, 32, &[0]);
    assert_eq!((writeback(&config), flushes(&mut bench)), (1, 0));
    config.set_writeback(false);
    assert_eq!(flushes(&mut bench), 0);
    bench.device.reset();
    config.reset();
    bench.device.activate(offered);
    assert_eq!((writeback(&config), flushes(&mut bench)), (1, 0));
    config.write(offered, 32, &[0]);
    assert_eq!((writeback(&config), flushes(&mut bench)), (0, 1));
    // Only that one field is the driver's.
    config.write(offered, 31, &[1, 1]);
    config.write(offered, 0, &[9]);
    assert_eq!((writeback(&config), flushes(&mut bench)), (0, 1));
    config.write(offered, 32, &[1]);
    assert_eq!(flushes(&mut bench), 0);
    config.write(offered, 32, &[0]);
    config.reset();
    assert_eq!(writeback(&config), 1);
    assert_eq!(info(&read_only()).features & wce, 0);
}

fn read_only() -> Drive {
    let mut drive = Drive::new(Arc::new(Lazy));
    drive.read_only = true;
    drive
}

#[test]
fn a_request_for_more_than_any_driver_sends_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(64 << 20).unwrap();
    let disk = FileBackend::open(file.path(), false).unwrap();
    let mut bench = Bench::new(false);
    bench.memory = crate::memory::map(64).unwrap();
    bench.use_drive(&Drive::new(Arc::new(disk)));
    let far = 0x100_0000;
    for (bytes, status) in [
        (16 << 20, blk::VIRTIO_BLK_S_OK),
        ((16 << 20) + 512, blk::VIRTIO_BLK_S_IOERR),
    ] {
        for (kind, to_guest) in [(blk::VIRTIO_BLK_T_IN, true), (blk::VIRTIO_BLK_T_OUT, false)] {
            bench.header(kind, 0);
            bench.send(&[
                (HEADER, 16, false),
                (far, bytes, to_guest),
                (STATUS, 1, true),
            ]);
            assert_eq!(bench.status(), status, "{bytes}");
        }
    }
}

#[test]
fn a_disk_that_changes_its_size_fails_all_requests_and_is_told_of() {
    struct Growing(AtomicUsize);
    impl BlockBackend for Growing {
        fn size(&self) -> u64 {
            self.0.load(Ordering::SeqCst) as u64
        }
        fn read_at(&self, target: &mut ReadTarget<'_>, _: u64) -> io::Result<()> {
            target.put_zeroes(target.remaining())
        }
        fn write_at(&self, _: &mut WriteSource<'_>, _: u64) -> io::Result<()> {
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
    }
    let disk = Arc::new(Growing(AtomicUsize::new(DISK)));
    let told = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&told);
    let events = crate::event::Events::new(Some(Box::new(move |event| {
        if let crate::Event::IoError { error, .. } = event {
            list.lock().unwrap().push(error.to_string());
        }
    })));
    let mut bench = Bench::new(false);
    let drive = Drive::new(Arc::clone(&disk) as Arc<dyn BlockBackend>);
    let device = Block::new(&drive, Arc::clone(&bench.stopping)).unwrap();
    bench.device = device.reporting_to(Arc::new(Mutex::new(ErrorReports::new(0, events))));
    assert_eq!(bench.request(blk::VIRTIO_BLK_T_IN, 63, 512, true), 0);
    let error = blk::VIRTIO_BLK_S_IOERR;
    for bytes in [DISK / 2, 2 * DISK] {
        disk.0.store(bytes, Ordering::SeqCst);
        assert_eq!(bench.request(blk::VIRTIO_BLK_T_IN, 0, 512, true), error);
        assert_eq!(bench.request(blk::VIRTIO_BLK_T_IN, 64, 512, true), error);
    }
    let told = told.lock().unwrap();
    assert!(told[0].contains("32768 bytes at the start, and now has 16384"));
}

#[test]
fn zeroes_that_may_be_unmapped_are_asked_for_as_such() {
    #[derive(Default)]
    struct Zeroes(Mutex<Vec<(bool, u64, u64)>>);
    impl BlockBackend for Zeroes {
        fn size(&self) -> u64 {
            DISK as u64
        }
        fn read_at(&self, _: &mut ReadTarget<'_>, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn write_at(&self, _: &mut WriteSource<'_>, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
        fn discard(&self, _: u64, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
            self.0.lock().unwrap().push((false, offset, len));
            Ok(())
        }
        fn unmap_to_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
            self.0.lock().unwrap().push((true, offset, len));
            Ok(())
        }
    }
    let disk = Arc::new(Zeroes::default());
    let mut bench = Bench::new(false);
    bench.use_drive(&Drive::new(Arc::clone(&disk) as Arc<dyn BlockBackend>));
    assert_eq!(bench.range(blk::VIRTIO_BLK_T_WRITE_ZEROES, 1, 2, 0), 0);
    assert_eq!(bench.range(blk::VIRTIO_BLK_T_WRITE_ZEROES, 3, 4, 1), 0);
    let asked = disk.0.lock().unwrap();
    assert_eq!(*asked, [(false, 512, 1024), (true, 1536, 2048)]);
}

#[test]
fn guest_memory_that_fails_is_not_the_disks_fault() {
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len(DISK as u64).unwrap();
    let disk = FileBackend::open(image.path(), false).unwrap();
    let told = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&told);
    let events = crate::event::Events::new(Some(Box::new(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
    })));
    let mut bench = Bench::new(false);
    // What lies past the end of its file can't be used.
    let lost = 0x80_0000;
    let file = tempfile::tempfile().unwrap();
    map_private(&bench.memory, GuestAddress(lost), &file, 4096).unwrap();
    let drive = Drive::new(Arc::new(disk));
    let reports = Arc::new(Mutex::new(ErrorReports::new(0, events)));
    let device = Block::new(&drive, Arc::clone(&bench.stopping)).unwrap();
    bench.device = device.reporting_to(reports);
    for (kind, to_guest) in [(blk::VIRTIO_BLK_T_IN, true), (blk::VIRTIO_BLK_T_OUT, false)] {
        bench.header(kind, 0);
        let parts = [
            (HEADER, 16, false),
            (lost, 512, to_guest),
            (STATUS, 1, true),
        ];
        bench.send(&parts);
        assert_eq!(bench.status(), blk::VIRTIO_BLK_S_IOERR);
    }
    assert_eq!(told.load(Ordering::SeqCst), 0);
    let mut target = ReadTarget::from_slice(&mut []);
    assert!(target.put(b"x").is_err());
    assert!(!target.memory_failed());
}

/// A backend that leaves out the last byte of what it is asked for.
struct Lazy;

impl BlockBackend for Lazy {
    fn size(&self) -> u64 {
        DISK as u64
    }
    fn read_at(&self, target: &mut ReadTarget<'_>, _: u64) -> io::Result<()> {
        target.put_zeroes(target.remaining() - 1)
    }
    fn write_at(&self, source: &mut WriteSource<'_>, _: u64) -> io::Result<()> {
        source.take(&mut vec![0; source.remaining() - 1])
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
}

#[test]
fn a_backend_that_leaves_bytes_out_fails_the_request() {
    let mut bench = Bench::new(false);
    bench.use_drive(&Drive::new(Arc::new(Lazy)));
    let error = blk::VIRTIO_BLK_S_IOERR;
    assert_eq!(bench.request(blk::VIRTIO_BLK_T_IN, 0, 512, true), error);
    assert_eq!(bench.request(blk::VIRTIO_BLK_T_OUT, 0, 512, false), error);
}

#[test]
fn requests_larger_than_one_call_move_whole() {
    const BYTES: u32 = (2 << 20) + 4096;
    let file = tempfile::NamedTempFile::new().unwrap();
    let pattern: Vec<u8> = (0..BYTES)
        .map(|at| (at / 512).to_le_bytes()[0] ^ 0x5a)
        .collect();
    std::fs::write(file.path(), &pattern).unwrap();
    let disk = FileBackend::open(file.path(), false).unwrap();
    let mut bench = Bench::new(false);
    bench.use_drive(&Drive::new(Arc::new(disk)));
    let far = 0x40_0000;
    for (kind, to_guest) in [(blk::VIRTIO_BLK_T_IN, true), (blk::VIRTIO_BLK_T_OUT, false)] {
        bench.header(kind, 0);
        let parts = [
            (HEADER, 16, false),
            (far, 700_001, to_guest),
            (far + 700_001, BYTES - 700_001, to_guest),
            (STATUS, 1, true),
        ];
        let used = bench.send(&parts);
        assert_eq!(used, if to_guest { BYTES + 1 } else { 1 });
        assert_eq!(bench.status(), blk::VIRTIO_BLK_S_OK);
        let mut data = vec![0; BYTES as usize];
        let memory = &bench.memory;
        memory.read_slice(&mut data, GuestAddress(far)).unwrap();
        if to_guest {
            assert!(data == pattern);
            data.reverse();
            memory.write_slice(&data, GuestAddress(far)).unwrap();
        }
    }
    let written = std::fs::read(file.path()).unwrap();
    assert!(written.iter().eq(pattern.iter().rev()));
}

#[test]
fn a_driver_is_told_of_several_queues_when_there_are_any() {
    let mut drive = Drive::new(Arc::new(Lazy));
    let one = info(&drive);
    assert_eq!(one.features & 1 << blk::VIRTIO_BLK_F_MQ, 0);
    assert_eq!(one.queue_sizes.len(), 1);
    drive.queues = 4;
    let four = info(&drive);
    assert_ne!(four.features & 1 << blk::VIRTIO_BLK_F_MQ, 0);
    assert_eq!(four.queue_sizes.len(), 4);
    let mut queues = [0; 2];
    ConfigSpace::of(&drive).read(34, &mut queues);
    assert_eq!(queues, [4, 0]);
}

/// Four reads of a sector, of which a limiter lets some pass.
struct Limited {
    bench: Bench,
    limiter: RateLimiter,
    queues: [ServedQueue; 1],
    /// Address of the used ring.
    used: u64,
}

impl Limited {
    fn new(limits: RateLimits) -> Self {
        let mut bench = Bench::new(false);
        let mut drive = Drive::new(Arc::clone(&bench.disk) as Arc<dyn BlockBackend>);
        drive.limiter = RateLimiter::new(limits).unwrap();
        bench.use_drive(&drive);
        bench.header(blk::VIRTIO_BLK_T_IN, 0);
        let ring = MockSplitQueue::new(&bench.memory, 16);
        let descriptors: Vec<_> = (0..4)
            .flat_map(|chain| {
                let next = u16::try_from(VRING_DESC_F_NEXT).unwrap();
                let write = u16::try_from(VRING_DESC_F_WRITE).unwrap();
                [
                    Descriptor::new(HEADER, 16, next, chain * 3 + 1),
                    Descriptor::new(DATA, 512, next | write, chain * 3 + 2),
                    Descriptor::new(STATUS, 1, write, 0),
                ]
            })
            .map(RawDescriptor::from)
            .collect();
        ring.add_desc_chains(&descriptors, 0).unwrap();
        let used = ring.used_addr().0;
        let queue = ServedQueue::new(
            ring.create_queue().unwrap(),
            bench.memory.clone(),
            Interrupt::new().unwrap(),
            Arc::new(EventFd::new(0).unwrap()),
        );
        Self {
            bench,
            limiter: drive.limiter,
            queues: [queue],
            used,
        }
    }

    /// Lets the device work; returns how many requests are done.
    fn serve(&mut self, event: Event) -> u16 {
        self.bench.device.serve(event, &mut self.queues).unwrap();
        let index = GuestAddress(self.used + 2);
        self.bench.memory.read_obj(index).unwrap()
    }

    /// Waits for a source of the device to become readable.
    fn wakes(&self, timeout_ms: i32) -> bool {
        let epoll = Epoll::new().unwrap();
        for fd in self.bench.device.sources() {
            let event = EpollEvent::new(EventSet::IN, 0);
            epoll.ctl(ControlOperation::Add, fd, event).unwrap();
        }
        epoll
            .wait(timeout_ms, &mut [EpollEvent::default()])
            .unwrap()
            > 0
    }
}

fn limit(per_second: u64, burst: u64) -> Option<RateLimit> {
    Some(RateLimit { per_second, burst })
}

#[test]
fn requests_over_the_limit_wait_in_the_queue_until_their_time() {
    let mut limited = Limited::new(RateLimits {
        bytes: None,
        operations: limit(20, 2),
    });
    assert_eq!(limited.serve(Event::Queue(0)), 2);
    assert_eq!(limited.serve(Event::Queue(0)), 2, "a kick does not help");
    assert!(limited.wakes(10_000));
    assert_eq!(limited.serve(Event::Source(0)), 3);
    assert!(!limited.wakes(0));
    limited.limiter.set(RateLimits::default()).unwrap();
    assert!(limited.wakes(0), "new limits wake");
    assert_eq!(limited.serve(Event::Source(1)), 4);
}

#[test]
fn discards_and_zeroes_count_a_part_of_what_they_cover() {
    let mut bench = Bench::new(false);
    let disk = Arc::clone(&bench.disk);
    let mut drive = Drive::new(disk as Arc<dyn BlockBackend>);
    drive.limiter = RateLimiter::new(RateLimits {
        bytes: limit(1, 100),
        operations: None,
    })
    .unwrap();
    bench.use_drive(&drive);
    // 12 sectors are 6144 bytes, of which 96 count; the next request takes what is left, and more.
    assert_eq!(bench.range(blk::VIRTIO_BLK_T_DISCARD, 0, 12, 0), 0);
    assert_eq!(bench.range(blk::VIRTIO_BLK_T_WRITE_ZEROES, 0, 12, 1), 0);
    let mut empty = drive.limiter.take(std::time::Instant::now(), 0, 1);
    assert!(empty.is_err());
    drive.limiter.set(RateLimits::default()).unwrap();
    empty = drive.limiter.take(std::time::Instant::now(), 0, 1);
    assert!(empty.is_ok());
}

#[test]
fn bytes_are_limited_by_what_requests_move() {
    let mut limited = Limited::new(RateLimits {
        bytes: limit(1, 1025),
        operations: None,
    });
    assert_eq!(limited.serve(Event::Queue(0)), 3);
    assert!(!limited.wakes(20));
}

#[test]
fn a_reset_forgets_what_waits() {
    let mut limited = Limited::new(RateLimits {
        bytes: None,
        operations: limit(100, 1),
    });
    assert_eq!(limited.serve(Event::Queue(0)), 1);
    limited.bench.device.reset();
    assert!(!limited.wakes(50));
}

#[test]
fn malformed_chains_come_back_unserved() {
    let mut bench = Bench::new(false);
    bench.header(blk::VIRTIO_BLK_T_IN, 0);
    // No status; write before read; outside of memory; wrapping; out of the table; a header that is cut off; nothing.
    assert_eq!(bench.send(&[(HEADER, 16, false)]), 0);
    assert_eq!(bench.send(&[(STATUS, 1, true), (HEADER, 16, false)]), 0);
    assert_eq!(bench.send(&[(HEADER, 16, false), (16 << 20, 513, true)]), 0);
    assert_eq!(bench.send(&[(HEADER, 16, false), (u64::MAX, 513, true)]), 0);
    let whole = [(HEADER, 16, false), (DATA, 512, true), (STATUS, 1, true)];
    assert_eq!(bench.send_until(&whole, true), 0);
    assert_eq!(bench.send_until(&whole, false), 513);
    assert_eq!(bench.send(&[(HEADER, 15, false), (STATUS, 1, true)]), 1);
    assert_eq!(bench.status(), blk::VIRTIO_BLK_S_IOERR);
    assert_eq!(bench.request(99, 0, 0, false), blk::VIRTIO_BLK_S_UNSUPP);
}

proptest! {
    #[test]
    fn the_disk_is_what_a_vec_would_be(steps in prop::collection::vec(
        (0u32..4, 0u64..66, 1u32..4, any::<u8>()), 1..40))
    {
        let mut bench = Bench::new(false);
        let mut model = bench.disk.bytes.lock().unwrap().clone();
        for (kind, sector, sectors, value) in steps {
            let start = usize::try_from(sector).unwrap() * 512;
            let length = sectors as usize * 512;
            let fits = start + length <= DISK;
            let status = match kind {
                0 => {
                    let status = bench.request(blk::VIRTIO_BLK_T_IN, sector, sectors * 512, true);
                    if fits {
                        prop_assert_eq!(bench.data(length), &model[start..start + length]);
                    }
                    status
                }
                1 => {
                    bench.set_data(&vec![value; length]);
                    if fits {
                        model[start..start + length].fill(value);
                    }
                    bench.request(blk::VIRTIO_BLK_T_OUT, sector, sectors * 512, false)
                }
                _ => {
                    if fits {
                        model[start..start + length].fill(0);
                    }
                    bench.range(blk::VIRTIO_BLK_T_WRITE_ZEROES, sector, sectors, 0)
                }
            };
            prop_assert_eq!(status == blk::VIRTIO_BLK_S_OK, fits);
        }
        prop_assert!(*bench.disk.bytes.lock().unwrap() == model);
    }
}
