//! Serves the driver's requests from a backend.
//!
//! Data moves between the backend and guest memory, without a stop in between.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use virtio_bindings::bindings::virtio_blk as blk;

use super::request::{HEADER_BYTES, Request, RequestError, SectorRange};
use super::{
    BlockBackend, ConfigSpace, ErrorReports, MAX_RANGE_CALL_BYTES, MAX_TRANSFER_BYTES, QUEUE_SIZE,
    ReadTarget, WriteSource,
};
use crate::config::{Drive, MAX_SERIAL_BYTES, MAX_VCPUS};
use crate::event::DiskOperation;
use crate::memory::Memory;
use crate::rate::RateGate;
use crate::virtio::{
    COMMON_FEATURES, Chain, ChainError, DeviceInfo, Event, Handler, LiveConfig, QueueError,
    ServedQueue, Verdict,
};

const DEVICE_ID: u32 = 2;
const QUEUE_SIZES: &[u16] = &[QUEUE_SIZE; MAX_VCPUS as usize];

/// What the driver sees of `drive`.
pub(crate) fn info(drive: &Drive) -> DeviceInfo {
    let mut features = COMMON_FEATURES
        | 1 << blk::VIRTIO_BLK_F_SIZE_MAX
        | 1 << blk::VIRTIO_BLK_F_SEG_MAX
        | 1 << blk::VIRTIO_BLK_F_BLK_SIZE
        | 1 << blk::VIRTIO_BLK_F_TOPOLOGY
        | 1 << blk::VIRTIO_BLK_F_FLUSH;
    features |= if drive.read_only {
        1 << blk::VIRTIO_BLK_F_RO
    } else {
        1 << blk::VIRTIO_BLK_F_CONFIG_WCE
            | 1 << blk::VIRTIO_BLK_F_DISCARD
            | 1 << blk::VIRTIO_BLK_F_WRITE_ZEROES
    };
    if drive.queues > 1 {
        features |= 1 << blk::VIRTIO_BLK_F_MQ;
    }
    DeviceInfo {
        id: DEVICE_ID,
        features,
        queue_sizes: &QUEUE_SIZES[..usize::from(drive.queues)],
        // What the device's handlers share is shown instead.
        config: Vec::new(),
    }
}

/// A disk at work, or what one of its queues has of it.
pub(crate) struct Block {
    backend: Arc<dyn BlockBackend>,
    read_only: bool,
    serial: [u8; MAX_SERIAL_BYTES],
    /// Set when the VM is stopping: whatever is not done yet fails.
    stopping: Arc<AtomicBool>,
    config: Arc<ConfigSpace>,
    /// Whether the driver flushes when it wants durability. If not, each write is flushed.
    driver_flushes: bool,
    /// Whether the driver may say in the configuration space that each write is to be flushed.
    driver_chooses_cache: bool,
    gate: RateGate,
    reports: Arc<Mutex<ErrorReports>>,
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
            config: ConfigSpace::of(drive),
            driver_flushes: false,
            driver_chooses_cache: false,
            gate: RateGate::new(&drive.limiter)?,
            reports: Arc::default(),
        })
    }

    /// The same device, which reports what fails.
    pub(crate) fn reporting_to(self, reports: Arc<Mutex<ErrorReports>>) -> Self {
        Self { reports, ..self }
    }

    /// The same device, with what the drive's other queues have, too.
    pub(crate) fn sharing(self, config: &Arc<ConfigSpace>) -> Self {
        let config = Arc::clone(config);
        Self { config, ..self }
    }

    /// Serves one request and writes its status, unless its turn has not come.
    fn handle(&mut self, memory: &Memory, chain: &Chain) -> Verdict {
        let parsed = Request::parse(memory, chain, self.config.disk_bytes()).and_then(|request| {
            if request.writes() && self.read_only {
                return Err(RequestError::ReadOnly);
            }
            Ok(request)
        });
        let bytes = parsed.as_ref().map_or(0, Request::charged_bytes);
        if !self.gate.admits(1, bytes) {
            return Verdict::Later;
        }
        let executed = parsed.map(|request| {
            let result = self.execute(memory, chain, &request);
            result.map_err(|error| (error, request.operation()))
        });
        let (status, written) = match executed {
            Ok(Ok(written)) => (blk::VIRTIO_BLK_S_OK, written),
            Ok(Err((Failure::Disk(error), operation))) => {
                if !self.is_stopping() {
                    self.report(operation, error);
                }
                (blk::VIRTIO_BLK_S_IOERR, 0)
            }
            Ok(Err((failure, _))) => {
                tracing::debug!(?failure, "a disk request failed, but not the disk");
                (blk::VIRTIO_BLK_S_IOERR, 0)
            }
            Err(RequestError::NoStatus) => return Verdict::Used(0),
            Err(error) => {
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
    fn execute(
        &mut self,
        memory: &Memory,
        chain: &Chain,
        request: &Request,
    ) -> Result<u64, Failure> {
        self.check_stopping()?;
        self.check_size()?;
        let written = match request {
            Request::Read { offset, length } => self.read(memory, chain, *offset, *length)?,
            Request::Write { offset, length } => self.write(memory, chain, *offset, *length)?,
            Request::Flush if self.read_only => 0,
            Request::Flush => self.backend.flush().map(|()| 0)?,
            Request::GetId => {
                let room = usize::try_from(chain.writable.len() - 1)
                    .map_or(MAX_SERIAL_BYTES, |room| room.min(MAX_SERIAL_BYTES));
                chain.writable.write(memory, 0, &self.serial[..room])?;
                room as u64
            }
            Request::Discard(ranges) => {
                self.each(ranges, |disk, at, len, _| disk.discard(at, len))?
            }
            Request::WriteZeroes(ranges) => {
                self.each(ranges, |disk, at, len, may_unmap| match may_unmap {
                    true => disk.unmap_to_zeroes(at, len),
                    false => disk.write_zeroes(at, len),
                })?
            }
        };
        if request.writes() && !self.caches_writes() {
            self.backend.flush()?;
        }
        Ok(written)
    }

    /// Whether a write is done before it is durable.
    fn caches_writes(&self) -> bool {
        self.driver_flushes && (!self.driver_chooses_cache || self.config.writeback())
    }

    fn read(
        &self,
        memory: &Memory,
        chain: &Chain,
        offset: u64,
        length: u64,
    ) -> Result<u64, Failure> {
        let mut target = ReadTarget::of_guest(memory, &chain.writable, 0, length)?;
        for (at, piece) in pieces(length, MAX_TRANSFER_BYTES) {
            self.check_stopping()?;
            target.allow(piece);
            let done = self.backend.read_at(&mut target, offset + at);
            done.map_err(|error| Failure::of(error, target.memory_failed()))?;
            check_all_moved(target.remaining())?;
        }
        Ok(length)
    }

    fn write(
        &self,
        memory: &Memory,
        chain: &Chain,
        offset: u64,
        length: u64,
    ) -> Result<u64, Failure> {
        let data = HEADER_BYTES as u64;
        let mut source = WriteSource::of_guest(memory, &chain.readable, data, length)?;
        for (at, piece) in pieces(length, MAX_TRANSFER_BYTES) {
            self.check_stopping()?;
            source.allow(piece);
            let done = self.backend.write_at(&mut source, offset + at);
            done.map_err(|error| Failure::of(error, source.memory_failed()))?;
            check_all_moved(source.remaining())?;
        }
        Ok(0)
    }

    fn each(
        &self,
        ranges: &[SectorRange],
        call: impl Fn(&dyn BlockBackend, u64, u64, bool) -> io::Result<()>,
    ) -> Result<u64, Failure> {
        for range in ranges {
            for (at, piece) in pieces(range.length, MAX_RANGE_CALL_BYTES) {
                self.check_stopping()?;
                let start = range.offset + at;
                call(&*self.backend, start, piece as u64, range.may_unmap)?;
            }
        }
        Ok(0)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// A disk of another size is another disk.
    fn check_size(&self) -> Result<(), Failure> {
        let (was, is) = (self.config.disk_bytes(), self.backend.size());
        if was == is {
            return Ok(());
        }
        let message = format!("the drive's backend had {was} bytes at the start, and now has {is}");
        Err(Failure::Disk(io::Error::other(message)))
    }

    fn check_stopping(&self) -> Result<(), Failure> {
        match self.is_stopping() {
            true => Err(Failure::Stopping),
            false => Ok(()),
        }
    }
}

/// Why a request that made sense was not done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The backend's fault, of which the VM's owner is told.
    #[error("the backend failed")]
    Disk(#[from] io::Error),
    #[error("the host could not use the guest's memory")]
    Memory(#[source] io::Error),
    #[error("the guest's buffer was not what it said")]
    Buffer(#[from] ChainError),
    #[error("the VM is stopping")]
    Stopping,
}

impl Failure {
    /// What became of a call of the backend that answered `error`.
    fn of(error: io::Error, memory_failed: bool) -> Self {
        match memory_failed {
            true => Self::Memory(error),
            false => Self::Disk(error),
        }
    }
}

impl Handler for Block {
    fn activate(&mut self, features: u64) {
        self.driver_flushes = features & (1 << blk::VIRTIO_BLK_F_FLUSH) != 0;
        self.driver_chooses_cache = features & (1 << blk::VIRTIO_BLK_F_CONFIG_WCE) != 0;
    }

    fn reset(&mut self) {
        self.gate.forget();
        self.config.reset();
    }

    fn live_config(&self) -> Option<Arc<dyn LiveConfig>> {
        Some(Arc::clone(&self.config) as Arc<dyn LiveConfig>)
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

/// Cuts `length` bytes into `(offset, piece)`s of at most `most` bytes.
fn pieces(length: u64, most: usize) -> impl Iterator<Item = (u64, usize)> {
    let step = most as u64;
    (0..length.div_ceil(step)).map(move |index| {
        let at = index * step;
        let piece = (length - at).min(step);
        (at, usize::try_from(piece).unwrap_or(most))
    })
}
