//! Serves the driver's requests from a backend.
//!
//! Data moves between the backend and guest memory, without a stop in between.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use virtio_bindings::bindings::virtio_blk as blk;

use super::request::{HEADER_BYTES, MAX_RANGE_SECTORS, MAX_RANGES, Request, RequestError};
use super::{
    BlockBackend, DiskCounters, ErrorReports, MAX_TRANSFER_BYTES, ReadTarget, SECTOR_BYTES,
    WriteSource,
};
use crate::config::{Drive, MAX_SERIAL_BYTES, MAX_VCPUS};
use crate::event::DiskOperation;
use crate::memory::Memory;
use crate::rate::RateGate;
use crate::virtio::{
    COMMON_FEATURES, Chain, DeviceInfo, Event, Handler, QueueError, ServedQueue, Verdict,
};

const DEVICE_ID: u32 = 2;
const QUEUE_SIZE: u16 = 256;
const QUEUE_SIZES: &[u16] = &[QUEUE_SIZE; MAX_VCPUS as usize];
/// Data segments in a request: what is left of a queue after header and status.
const MAX_SEGMENTS: u32 = QUEUE_SIZE as u32 - 2;
/// log2 of physical sectors (4 KiB) over logical ones, so that guests align what they write.
const PHYSICAL_BLOCK_EXPONENT: u8 = 3;
const CONFIG_BYTES: usize = 60;
/// The logical block size: a sector.
const BLOCK_BYTES: u32 = 512;
const _: () = assert!(BLOCK_BYTES as u64 == SECTOR_BYTES);

/// What the driver sees of `drive`.
pub(crate) fn info(drive: &Drive) -> DeviceInfo {
    let mut features = COMMON_FEATURES
        | 1 << blk::VIRTIO_BLK_F_SEG_MAX
        | 1 << blk::VIRTIO_BLK_F_BLK_SIZE
        | 1 << blk::VIRTIO_BLK_F_TOPOLOGY
        | 1 << blk::VIRTIO_BLK_F_FLUSH;
    features |= if drive.read_only {
        1 << blk::VIRTIO_BLK_F_RO
    } else {
        1 << blk::VIRTIO_BLK_F_DISCARD | 1 << blk::VIRTIO_BLK_F_WRITE_ZEROES
    };
    if drive.queues > 1 {
        features |= 1 << blk::VIRTIO_BLK_F_MQ;
    }
    DeviceInfo {
        id: DEVICE_ID,
        features,
        queue_sizes: &QUEUE_SIZES[..usize::from(drive.queues)],
        config: config_space(drive.backend.size() / SECTOR_BYTES, drive.queues),
    }
}

/// `struct virtio_blk_config` of virtio 1.2, section 5.2.4, up to the write-zeroes fields.
fn config_space(sectors: u64, queues: u16) -> Vec<u8> {
    let mut config = vec![0; CONFIG_BYTES];
    let mut put = |at: usize, bytes: &[u8]| config[at..at + bytes.len()].copy_from_slice(bytes);
    let ranges = u32::try_from(MAX_RANGES).unwrap_or(1).to_le_bytes();
    put(0, &sectors.to_le_bytes());
    put(12, &MAX_SEGMENTS.to_le_bytes());
    put(20, &BLOCK_BYTES.to_le_bytes());
    put(24, &[PHYSICAL_BLOCK_EXPONENT]);
    put(34, &queues.to_le_bytes());
    put(36, &MAX_RANGE_SECTORS.to_le_bytes());
    put(40, &ranges);
    put(44, &(1u32 << PHYSICAL_BLOCK_EXPONENT).to_le_bytes());
    put(48, &MAX_RANGE_SECTORS.to_le_bytes());
    put(52, &ranges);
    put(56, &[1]);
    config
}

/// A disk at work, or what one of its queues has of it.
pub(crate) struct Block {
    backend: Arc<dyn BlockBackend>,
    read_only: bool,
    serial: [u8; MAX_SERIAL_BYTES],
    /// Set when the VM is stopping: whatever is not done yet fails.
    stopping: Arc<AtomicBool>,
    /// Whether the driver flushes when it wants durability. If not, each write is flushed.
    driver_flushes: bool,
    gate: RateGate,
    reports: Arc<Mutex<ErrorReports>>,
    counters: Arc<DiskCounters>,
}

impl Block {
    pub(crate) fn new(drive: &Drive, stopping: Arc<AtomicBool>) -> io::Result<Self> {
        let mut serial = [0; MAX_SERIAL_BYTES];
        for (byte, value) in serial.iter_mut().zip(drive.serial.bytes()) {
            *byte = value;
        }
        Ok(Self {
            backend: Arc::clone(&drive.backend),
            read_only: drive.read_only,
            serial,
            stopping,
            driver_flushes: false,
            gate: RateGate::new(&drive.limiter)?,
            reports: Arc::default(),
            counters: Arc::default(),
        })
    }

    /// The same device, which reports what fails.
    pub(crate) fn reporting_to(self, reports: Arc<Mutex<ErrorReports>>) -> Self {
        Self { reports, ..self }
    }

    /// The same device, which counts in `counters`.
    pub(crate) fn counting_in(self, counters: Arc<DiskCounters>) -> Self {
        Self { counters, ..self }
    }

    /// Serves one request and writes its status, unless its turn has not come.
    fn handle(&mut self, memory: &Memory, chain: &Chain) -> Verdict {
        let parsed = Request::parse(memory, chain, self.backend.size()).and_then(|request| {
            if request.writes() && self.read_only {
                return Err(RequestError::ReadOnly);
            }
            Ok(request)
        });
        let bytes = parsed.as_ref().map_or(0, Request::data_bytes);
        if !self.gate.admits(1, bytes) {
            return Verdict::Later;
        }
        let executed = parsed.map(|request| {
            let result = self.execute(memory, chain, &request);
            match &result {
                Ok(_) => self.counters.done(request.operation(), bytes),
                Err(_) => self.counters.failed(),
            }
            result.map_err(|error| (error, request.operation()))
        });
        let (status, written) = match executed {
            Ok(Ok(written)) => (blk::VIRTIO_BLK_S_OK, written),
            Ok(Err((error, operation))) => {
                if !self.is_stopping() {
                    self.report(operation, error);
                }
                (blk::VIRTIO_BLK_S_IOERR, 0)
            }
            Err(RequestError::NoStatus) => {
                self.counters.refused();
                return Verdict::Used(0);
            }
            Err(error) => {
                self.counters.refused();
                tracing::debug!(%error, "refused a disk request");
                (error.status(), 0)
            }
        };
        let at = chain.writable.len() - 1;
        match chain.writable.write(memory, at, &status.to_le_bytes()[..1]) {
            // Chains of more than 4 GiB are refused, so the length fits.
            Ok(()) => Verdict::Used(u32::try_from(written + 1).unwrap_or(u32::MAX)),
            Err(_) => Verdict::Used(0),
        }
    }

    fn report(&self, operation: DiskOperation, error: io::Error) {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let report = reports.report(operation, error, Instant::now());
        drop(reports);
        // Without the lock: the owner may take its time, and the drive's other queues have work.
        if let Some(report) = report {
            report.tell();
        }
    }

    /// Does what the request says; returns how many bytes of data were written to the guest.
    fn execute(&mut self, memory: &Memory, chain: &Chain, request: &Request) -> io::Result<u64> {
        self.check_stopping()?;
        let written = match request {
            Request::Read { offset, length } => self.read(memory, chain, *offset, *length)?,
            Request::Write { offset, length } => self.write(memory, chain, *offset, *length)?,
            Request::Flush if self.read_only => 0,
            Request::Flush => self.backend.flush().map(|()| 0)?,
            Request::GetId => {
                let room = usize::try_from(chain.writable.len() - 1)
                    .map_or(MAX_SERIAL_BYTES, |room| room.min(MAX_SERIAL_BYTES));
                chain
                    .writable
                    .write(memory, 0, &self.serial[..room])
                    .map_err(io::Error::other)?;
                room as u64
            }
            Request::Discard(ranges) => self.each(ranges, |disk, at, len| disk.discard(at, len))?,
            Request::WriteZeroes(ranges) => {
                self.each(ranges, |disk, at, len| disk.write_zeroes(at, len))?
            }
        };
        if request.writes() && !self.driver_flushes {
            self.backend.flush()?;
        }
        Ok(written)
    }

    fn read(&self, memory: &Memory, chain: &Chain, offset: u64, length: u64) -> io::Result<u64> {
        let mut target =
            ReadTarget::of_guest(memory, &chain.writable, 0, length).map_err(io::Error::other)?;
        for (at, piece) in pieces(length) {
            self.check_stopping()?;
            target.allow(piece);
            self.backend.read_at(&mut target, offset + at)?;
            check_all_moved(target.remaining())?;
        }
        Ok(length)
    }

    fn write(&self, memory: &Memory, chain: &Chain, offset: u64, length: u64) -> io::Result<u64> {
        let data = HEADER_BYTES as u64;
        let mut source = WriteSource::of_guest(memory, &chain.readable, data, length)
            .map_err(io::Error::other)?;
        for (at, piece) in pieces(length) {
            self.check_stopping()?;
            source.allow(piece);
            self.backend.write_at(&mut source, offset + at)?;
            check_all_moved(source.remaining())?;
        }
        Ok(0)
    }

    fn each(
        &self,
        ranges: &[(u64, u64)],
        call: impl Fn(&dyn BlockBackend, u64, u64) -> io::Result<()>,
    ) -> io::Result<u64> {
        for (offset, length) in ranges {
            self.check_stopping()?;
            call(&*self.backend, *offset, *length)?;
        }
        Ok(0)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn check_stopping(&self) -> io::Result<()> {
        if self.is_stopping() {
            return Err(io::Error::other("the VM is stopping"));
        }
        Ok(())
    }
}

impl Handler for Block {
    fn activate(&mut self, features: u64) {
        self.driver_flushes = features & (1 << blk::VIRTIO_BLK_F_FLUSH) != 0;
    }

    fn reset(&mut self) {
        self.gate.forget();
    }

    fn sources(&self) -> Vec<RawFd> {
        self.gate.sources().to_vec()
    }

    fn serve(&mut self, event: Event, queues: &mut [ServedQueue]) -> Result<(), QueueError> {
        if matches!(event, Event::Source(_)) {
            self.gate.rearm();
        }
        for queue in queues {
            queue.drain(|memory, chain| self.handle(memory, chain))?;
        }
        Ok(())
    }
}

/// What a backend left out would be whatever the guest's memory, or the disk, held before.
fn check_all_moved(remaining: usize) -> io::Result<()> {
    if remaining == 0 {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the drive's backend left out {remaining} bytes"
    )))
}

/// Cuts `length` bytes into `(offset, piece)`s.
fn pieces(length: u64) -> impl Iterator<Item = (u64, usize)> {
    let step = MAX_TRANSFER_BYTES as u64;
    (0..length.div_ceil(step)).map(move |index| {
        let at = index * step;
        let piece = (length - at).min(step);
        (at, usize::try_from(piece).unwrap_or(MAX_TRANSFER_BYTES))
    })
}
