//! A driver of a disk: an honest one that makes odd requests, or one that puts any bytes into its queue.
//!
//! Oracles: the backend is called as its documentation promises; the disk, the status and the data of each
//! honest request are those of a model; a chain that breaks the rules changes nothing.
#![no_main]

use std::io;
use std::sync::{Arc, Mutex};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use vmm_core::fuzzing::{BlockDriver, Rings};
use vmm_core::{BlockBackend, Drive, ReadTarget, WriteSource};

/// What the device says that one request has at most.
const MAX_RANGES: usize = 1;
const SECTOR: usize = 512;
const DISK: usize = 16 * SECTOR;
const SERIAL: &[u8; 20] = b"a disk for the fuzz!";
const QUEUE: u16 = 8;
const RINGS: Rings = Rings {
    size: QUEUE,
    descriptors: 0,
    available: 0x1000,
    used: 0x2000,
    event_index: false,
};
const STATUS: u64 = 0x3000;
const HEADER: u64 = 0x4000;
const DATA: u64 = 0x1_0000;
const UNTOUCHED: u8 = 0xaa;

/// A disk in memory that holds its caller to the duties that `BlockBackend` lists.
struct Disk {
    bytes: Mutex<Vec<u8>>,
    read_only: bool,
}

impl Disk {
    fn range(offset: u64, length: usize) -> std::ops::Range<usize> {
        let start = usize::try_from(offset).expect("within the disk");
        assert!(length > 0 && length.is_multiple_of(SECTOR) && start.is_multiple_of(SECTOR));
        assert!(start + length <= DISK);
        start..start + length
    }
}

impl BlockBackend for Disk {
    fn size(&self) -> u64 {
        DISK as u64
    }
    fn read_at(&self, target: &mut ReadTarget<'_>, offset: u64) -> io::Result<()> {
        target.put(&self.bytes.lock().unwrap()[Self::range(offset, target.remaining())])
    }
    fn write_at(&self, source: &mut WriteSource<'_>, offset: u64) -> io::Result<()> {
        assert!(!self.read_only);
        let range = Self::range(offset, source.remaining());
        source.take(&mut self.bytes.lock().unwrap()[range])
    }
    fn flush(&self) -> io::Result<()> {
        assert!(!self.read_only);
        Ok(())
    }
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write_zeroes(offset, len)
    }
    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        let zeroes = vec![0; usize::try_from(len).unwrap()];
        self.write_at(&mut WriteSource::from_slice(&zeroes), offset)
    }
}

#[derive(Arbitrary, Debug)]
enum Input {
    Honest {
        read_only: bool,
        event_index: bool,
        requests: Vec<Request>,
    },
    Hostile {
        read_only: bool,
        event_index: bool,
        size_log: u8,
        available: u16,
        used: u16,
        image: Vec<u8>,
        again: Vec<(u16, u16)>,
    },
}

#[derive(Arbitrary, Debug)]
struct Request {
    kind: Kind,
    /// Where the data is cut into two descriptors.
    cut: u16,
    broken: Option<Broken>,
}

#[derive(Arbitrary, Debug)]
enum Kind {
    Read {
        sector: Sector,
        bytes: u16,
    },
    Write {
        sector: Sector,
        bytes: u16,
        value: u8,
    },
    Flush,
    Id {
        bytes: u8,
    },
    Discard(Vec<Range>),
    WriteZeroes(Vec<Range>),
    Other {
        kind: u32,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Sector {
    Near(u8),
    Any(u64),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Range {
    sector: Sector,
    sectors: u8,
    flags: u8,
}

/// Ways to break a chain, each of which must leave everything as it was.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Broken {
    Loop,
    Outside,
    StatusFirst,
    NoStatus,
}

impl Sector {
    fn number(self) -> u64 {
        match self {
            Self::Near(sector) => u64::from(sector % 20),
            Self::Any(sector) => sector,
        }
    }

    /// The bytes of the disk from here on, if there are `length` of them.
    fn bytes(self, length: usize) -> Option<std::ops::Range<usize>> {
        let start = usize::try_from(self.number()).ok()?.checked_mul(SECTOR)?;
        let end = start.checked_add(length)?;
        let fits = length > 0 && length.is_multiple_of(SECTOR) && end <= DISK;
        fits.then_some(start..end)
    }
}

struct Bench {
    driver: BlockDriver,
    disk: Arc<Disk>,
    model: Vec<u8>,
    sent: u16,
}

/// What the driver finds when a request is done.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u8,
    data: Option<Vec<u8>>,
}

const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

impl Bench {
    fn new(read_only: bool, rings: Rings) -> Option<Self> {
        let model: Vec<u8> = (0..DISK).map(|at| (at / 7) as u8).collect();
        let disk = Arc::new(Disk {
            bytes: Mutex::new(model.clone()),
            read_only,
        });
        let mut drive = Drive::new(Arc::clone(&disk) as Arc<dyn BlockBackend>);
        drive.read_only = read_only;
        drive.serial = String::from_utf8_lossy(SERIAL).into_owned();
        let driver = BlockDriver::new(&drive, 1, rings)?;
        Some(Self {
            driver,
            disk,
            model,
            sent: 0,
        })
    }

    /// What a disk does, by the letter of virtio 1.2, section 5.2.6.
    fn model(&mut self, kind: &Kind, data: &[u8]) -> Answer {
        let answer = |status| Answer { status, data: None };
        let read_only = self.disk.read_only;
        match kind {
            Kind::Read { sector, .. } => match sector.bytes(data.len()) {
                Some(range) => Answer {
                    status: OK,
                    data: Some(self.model[range].to_vec()),
                },
                None => answer(IO_ERROR),
            },
            Kind::Write { sector, .. } => match sector.bytes(data.len()) {
                Some(range) if !read_only => {
                    self.model[range].copy_from_slice(data);
                    answer(OK)
                }
                _ => answer(IO_ERROR),
            },
            Kind::Flush => answer(OK),
            Kind::Id { .. } => {
                let length = data.len().min(SERIAL.len());
                let data = [&SERIAL[..length], &data[length..]].concat();
                Answer {
                    status: OK,
                    data: Some(data),
                }
            }
            Kind::Discard(ranges) => answer(self.model_zeroes(ranges, 0)),
            Kind::WriteZeroes(ranges) => answer(self.model_zeroes(ranges, 1)),
            Kind::Other { .. } => answer(UNSUPPORTED),
        }
    }

    fn model_zeroes(&mut self, ranges: &[Range], flags: u8) -> u8 {
        if ranges.is_empty() || ranges.len() > MAX_RANGES {
            return IO_ERROR;
        }
        let mut zeroes = Vec::new();
        for range in ranges {
            if range.flags & !flags != 0 {
                return UNSUPPORTED;
            }
            match range.sector.bytes(usize::from(range.sectors) * SECTOR) {
                Some(bytes) => zeroes.push(bytes),
                None => return IO_ERROR,
            }
        }
        if self.disk.read_only {
            return IO_ERROR;
        }
        zeroes
            .into_iter()
            .for_each(|bytes| self.model[bytes].fill(0));
        OK
    }

    fn descriptor(&self, at: u16, address: u64, length: usize, flags: u16, next: u16) {
        let length = u32::try_from(length).unwrap();
        let bytes = [
            &address.to_le_bytes()[..],
            &length.to_le_bytes(),
            &flags.to_le_bytes(),
            &next.to_le_bytes(),
        ];
        assert!(self.driver.write(u64::from(at) * 16, &bytes.concat()));
    }

    /// Lays out header, data in two parts, and status; then lets the device work.
    fn send(&mut self, request: &Request, data: &[u8], to_guest: bool) {
        const NEXT: u16 = 1;
        const WRITE: u16 = 2;
        let cut = usize::from(request.cut) % (data.len() + 1);
        let data_flags = NEXT | if to_guest { WRITE } else { 0 };
        self.descriptor(0, HEADER, 16, NEXT, 1);
        self.descriptor(1, DATA, cut, data_flags, 2);
        self.descriptor(2, DATA + cut as u64, data.len() - cut, data_flags, 3);
        self.descriptor(3, STATUS, 1, WRITE, 0);
        match request.broken {
            Some(Broken::Loop) => self.descriptor(3, STATUS, 1, WRITE | NEXT, 0),
            Some(Broken::Outside) => self.descriptor(2, u64::MAX - 3, 512, data_flags, 3),
            Some(Broken::StatusFirst) => self.descriptor(0, STATUS, 1, WRITE | NEXT, 3),
            Some(Broken::NoStatus) => self.descriptor(0, HEADER, 16, 0, 0),
            None => {}
        }
        if let Some(Broken::StatusFirst) = request.broken {
            self.descriptor(3, HEADER, 16, 0, 0);
        }
        let slot = u64::from(self.sent % QUEUE);
        self.sent = self.sent.wrapping_add(1);
        assert!(self.driver.write(RINGS.available + 4 + slot * 2, &[0, 0]));
        assert!(
            self.driver
                .write(RINGS.available + 2, &self.sent.to_le_bytes())
        );
        assert!(self.driver.kick(), "an honest queue needs no reset");
        let mut used = [0; 2];
        assert!(self.driver.read(RINGS.used + 2, &mut used));
        assert_eq!(u16::from_le_bytes(used), self.sent, "the request came back");
    }

    fn request(&mut self, request: &Request) {
        let (kind, sector, data, to_guest) = wire(&request.kind);
        let header = [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat();
        assert!(self.driver.write(HEADER, &header));
        assert!(self.driver.write(DATA, &data));
        assert!(self.driver.write(STATUS, &[UNTOUCHED]));
        let before = data.clone();
        let expected = match request.broken {
            Some(_) => Answer {
                status: UNTOUCHED,
                data: None,
            },
            None => self.model(&request.kind, &data),
        };
        self.send(request, &data, to_guest);
        let (mut status, mut after) = ([0], data);
        assert!(self.driver.read(STATUS, &mut status));
        assert!(self.driver.read(DATA, &mut after));
        assert_eq!(status[0], expected.status, "{request:?}");
        assert!(after == expected.data.unwrap_or(before), "{request:?}");
        assert!(
            *self.disk.bytes.lock().unwrap() == self.model,
            "{request:?}"
        );
    }
}

/// Type, sector, data and direction of a request.
fn wire(kind: &Kind) -> (u32, u64, Vec<u8>, bool) {
    let ranges = |ranges: &[Range]| {
        let bytes = ranges.iter().flat_map(|range| {
            let sectors = u32::from(range.sectors).to_le_bytes();
            let flags = u32::from(range.flags).to_le_bytes();
            [&range.sector.number().to_le_bytes()[..], &sectors, &flags].concat()
        });
        bytes.collect::<Vec<u8>>()
    };
    match kind {
        Kind::Read { sector, bytes } => (0, sector.number(), vec![0x55; usize::from(*bytes)], true),
        Kind::Write {
            sector,
            bytes,
            value,
        } => (1, sector.number(), vec![*value; usize::from(*bytes)], false),
        Kind::Flush => (4, 0, Vec::new(), false),
        Kind::Id { bytes } => (8, 0, vec![0x55; usize::from(*bytes)], true),
        Kind::Discard(list) => (11, 0, ranges(list), false),
        Kind::WriteZeroes(list) => (13, 0, ranges(list), false),
        Kind::Other { kind } => match kind {
            0 | 1 | 4 | 8 | 11 | 13 => (99, 0, Vec::new(), false),
            kind => (*kind, 0, Vec::new(), false),
        },
    }
}

fuzz_target!(|input: Input| match input {
    Input::Honest {
        read_only,
        event_index,
        requests,
    } => {
        let rings = Rings {
            event_index,
            ..RINGS
        };
        let mut bench = Bench::new(read_only, rings).expect("the rings are sound");
        requests.iter().for_each(|request| bench.request(request));
    }
    Input::Hostile {
        read_only,
        event_index,
        size_log,
        available,
        used,
        image,
        again,
    } => {
        let rings = Rings {
            size: 1 << (size_log % 9),
            descriptors: 0,
            available: u64::from(available),
            used: u64::from(used),
            event_index,
        };
        let Some(mut bench) = Bench::new(read_only, rings) else {
            return;
        };
        bench.driver.write(0, &image);
        let mut works = bench.driver.kick();
        for (address, value) in again {
            bench.driver.write(u64::from(address), &value.to_le_bytes());
            works = works && bench.driver.kick();
        }
        if read_only {
            assert!(*bench.disk.bytes.lock().unwrap() == bench.model);
        }
    }
});
