//! Serves the driver's requests from a backend.
//!
//! Data moves between the backend and guest memory, without a stop in between.

mod execution;

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use virtio_bindings::bindings::virtio_blk as blk;

use execution::Failure;

use super::request::{Request, RequestError};
use super::{BlockBackend, ConfigSpace, DiskCounters, ErrorReports, QUEUE_SIZE};
use crate::calls::{Calls, CountedDisk};
use crate::config::{Drive, MAX_SERIAL_BYTES, MAX_VCPUS};
use crate::event::DiskOperation;
use crate::memory::Memory;
use crate::rate::RateGate;
use crate::virtio::{
    COMMON_FEATURES, Chain, DeviceInfo, Event, Handler, LiveConfig, QueueError, ServedQueue,
    Verdict,
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
            config: ConfigSpace::of(drive),
            driver_flushes: false,
            driver_chooses_cache: false,
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

    /// The same device, with what the drive's other queues have, too.
    pub(crate) fn sharing(self, config: &Arc<ConfigSpace>) -> Self {
        let config = Arc::clone(config);
        Self { config, ..self }
    }

    /// The same device, whose calls of the backend count as `calls`.
    pub(crate) fn calling_as(self, calls: Arc<Calls>) -> Self {
        let backend = Arc::new(CountedDisk::new(self.backend, calls));
        Self { backend, ..self }
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
            match &result {
                Ok(_) => self.counters.done(request.operation(), bytes),
                Err(Failure::Disk(_)) => self.counters.failed(),
                Err(_) => {}
            }
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

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

impl Handler for Block {
    fn activate(&mut self, features: u64) {
        self.driver_flushes = features & (1 << blk::VIRTIO_BLK_F_FLUSH) != 0;
        self.driver_chooses_cache = features & (1 << blk::VIRTIO_BLK_F_CONFIG_WCE) != 0;
    }

    fn reset(&mut self) {
        self.gate.forget();
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
