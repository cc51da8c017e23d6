//! A store's disk behind the VMM's block device.
//!
//! Invariant: once the host has failed to write or flush, [`RootDisk::failure`] says so for ever: what the disk then
//! holds is what a guest saw that was told of an error, and no snapshot may be made of it unseen.

mod reach;
mod superblock;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rootfs_store::{BootProfile, DiskError, ReadInto, RemoteTrouble, WritableDisk, WriteFrom};
use vmm_core::{BlockBackend, HostCalls, RateLimiter, ReadTarget, WriteSource};

use crate::error::one_line;
use crate::event::{Device, Event, Events};
use crate::telemetry::DiskBytes;
use reach::Reach;

/// How long after a guest is ready its reads still belong to its start, unless a command ends before.
const START_TAIL: Duration = Duration::from_secs(10);
/// How long after a failure was told the next one is.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// What guests read and write at least.
const BLOCK_BYTES: u64 = 4096;

/// The disk of a session's root or of a further drive, as its virtio-blk device sees it.
#[derive(Debug)]
pub(crate) struct RootDisk {
    disk: WritableDisk,
    failure: OnceLock<Failure>,
    /// Whether reads are recorded for the next start.
    records: AtomicBool,
    /// Since when the guest takes commands.
    ready: OnceLock<Instant>,
    reach: Reach,
    /// Which one of its session's, and who is told of its troubles.
    device: Device,
    events: Arc<Events>,
    /// When a failure was told last.
    told: Mutex<Option<Instant>>,
    /// Whether a part of the disk is in a registry, which reads then fetch it from.
    reaches_out: bool,
    bytes: DiskBytes,
    /// What the machine's device lets pass.
    limiter: RateLimiter,
}

/// The first change that the host could not make.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) action: &'static str,
    pub(crate) message: String,
}

impl RootDisk {
    pub(crate) fn new(disk: WritableDisk) -> Self {
        Self {
            disk,
            failure: OnceLock::new(),
            records: AtomicBool::new(false),
            ready: OnceLock::new(),
            reach: Reach::default(),
            device: Device::RootDisk,
            events: Arc::default(),
            told: Mutex::default(),
            reaches_out: false,
            bytes: DiskBytes::new(),
            limiter: RateLimiter::default(),
        }
    }

    /// Records from now on what the guest reads while it starts, for the boot profile of the disk's next snapshots.
    pub(crate) fn record_start(&self) {
        self.disk.start_recording();
        self.records.store(true, Ordering::Relaxed);
    }

    /// The guest takes commands; its start ends soon.
    pub(crate) fn is_ready(&self) {
        let _ = self.ready.set(Instant::now());
    }

    /// Ends the recording of the start, if there is one.
    pub(crate) fn end_recording(&self) {
        if self.records.swap(false, Ordering::Relaxed) {
            let profile = BootProfile::of(self.disk.take_recording());
            self.disk.set_boot_profile(profile);
        }
    }

    fn has_started(&self) -> bool {
        self.ready
            .get()
            .is_some_and(|ready| ready.elapsed() > START_TAIL)
    }

    /// The disk itself, for when nobody writes to it any more.
    pub(crate) fn writable(&self) -> &WritableDisk {
        &self.disk
    }

    /// The same, as this device, with who is told of its troubles.
    pub(crate) fn telling(self, device: Device, events: Arc<Events>) -> Self {
        Self {
            device,
            events,
            ..self
        }
    }

    /// The same, which may have to ask a registry for what is read, or not.
    pub(crate) fn reaching_out(self, reaches_out: bool) -> Self {
        Self {
            reaches_out,
            ..self
        }
    }

    /// Limits what passes between guest and disk.
    pub(crate) fn limiter(&self) -> &RateLimiter {
        &self.limiter
    }

    /// What could not be read so far because of a registry.
    pub(crate) fn trouble(&self) -> Option<RemoteTrouble> {
        self.disk.remote_trouble()
    }

    /// Bytes that what was written takes on the host.
    pub(crate) fn written_bytes(&self) -> u64 {
        // Whoever can't tell is told by the next write.
        self.disk.allocated_bytes().unwrap_or_default()
    }

    /// Whether the file system on it says that it was unmounted, or made read-only. How a VM ended would not tell: a guest
    /// can power itself off without unmounting anything.
    pub(crate) fn has_clean_root(&self) -> bool {
        let mut superblock = [0; superblock::BYTES];
        let mut target = ReadTarget::from_slice(&mut superblock);
        let read = self.read_at(&mut target, superblock::OFFSET);
        read.is_ok() && superblock::is_clean(&superblock)
    }

    /// The first failure to write or flush.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.failure.get()
    }

    /// What came of a change to a range of the disk. One that is smaller than a block needs what lies below.
    fn changed(
        &self,
        action: &'static str,
        range: Range<u64>,
        result: Result<(), DiskError>,
    ) -> io::Result<()> {
        if result.is_ok() {
            self.reach.succeeded(&range, &self.events);
        }
        result.map_err(|error| {
            let message = one_line(&error);
            tracing::error!(message, "the host could not {action} a session's disk");
            let is_outage = self.reach.failed(range, &error, &self.events);
            let failure = Failure {
                action,
                message: message.clone(),
            };
            // The first one is told whatever was told before: no snapshot is made from then on.
            let is_first = self.failure.set(failure).is_ok();
            if !is_outage {
                self.tell_failed(message, is_first);
            }
            io::Error::other(error)
        })
    }

    /// Tells of a failure of the host's, if it must be or none was told just before.
    fn tell_failed(&self, message: String, must: bool) {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !must && told.is_some_and(|last| now.duration_since(last) < FAILURE_PAUSE) {
            return;
        }
        *told = Some(now);
        let device = self.device.clone();
        self.events.tell(Event::DiskFailed { device, message });
    }
}

impl BlockBackend for RootDisk {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, target: &mut ReadTarget<'_>, offset: u64) -> io::Result<()> {
        if self.records.load(Ordering::Relaxed) && self.has_started() {
            self.end_recording();
        }
        let range = range(offset, target.remaining() as u64);
        let read = self.disk.read_into(&mut GuestTarget(target), offset);
        match read {
            Ok(()) => {
                self.bytes.read(range.end - range.start);
                self.reach.succeeded(&range, &self.events);
                Ok(())
            }
            // The guest's memory is at fault, and the disk as good as before.
            Err(error) if target.memory_failed() => Err(io::Error::other(error)),
            Err(error) => {
                if !self.reach.failed(range, &error, &self.events) {
                    let message = one_line(&error);
                    tracing::error!(message, "a read failed");
                    self.tell_failed(message, false);
                }
                Err(io::Error::other(error))
            }
        }
    }

    fn write_at(&self, source: &mut WriteSource<'_>, offset: u64) -> io::Result<()> {
        let range = range(offset, source.remaining() as u64);
        let written = self.disk.write_from(&mut GuestSource(source), offset);
        if source.memory_failed() {
            // The guest's memory is at fault, and the disk as good as before.
            return written.map_err(io::Error::other);
        }
        if written.is_ok() {
            self.bytes.written(range.end - range.start);
        }
        self.changed("write to", range, written)
    }

    fn flush(&self) -> io::Result<()> {
        // It asks for nothing of what is on the disk.
        self.changed("flush", 0..0, self.disk.flush())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let trimmed = self.disk.discard(offset, len);
        self.changed("trim", first_block(offset, len), trimmed)
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        let cleared = self.disk.write_zeroes(offset, len);
        self.changed("clear a part of", first_block(offset, len), cleared)
    }

    fn host_calls(&self) -> HostCalls {
        match self.reaches_out {
            true => HostCalls::Any,
            false => HostCalls::Files,
        }
    }
}

/// Memory of a guest that a read of the store fills.
struct GuestTarget<'a, 'b>(&'a mut ReadTarget<'b>);

impl ReadInto for GuestTarget<'_, '_> {
    fn remaining(&self) -> usize {
        self.0.remaining()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.put(bytes)
    }

    fn put_zeroes(&mut self, count: usize) -> io::Result<()> {
        self.0.put_zeroes(count)
    }

    fn put_from_file(&mut self, file: &File, offset: u64, count: usize) -> io::Result<()> {
        self.0.put_from_file(file, offset, count)
    }

    fn restart(&mut self) {
        self.0.restart();
    }
}

/// Memory of a guest that is written to the store.
struct GuestSource<'a, 'b>(&'a mut WriteSource<'b>);

impl WriteFrom for GuestSource<'_, '_> {
    fn remaining(&self) -> usize {
        self.0.remaining()
    }

    fn take(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.0.take(buffer)
    }

    fn write_to_file(&mut self, file: &File, offset: u64, count: usize) -> io::Result<()> {
        self.0.write_to_file(file, offset, count)
    }
}

/// What stands for a request that may be for much more than any that follows.
fn first_block(offset: u64, len: u64) -> Range<u64> {
    range(offset, len.min(BLOCK_BYTES))
}

/// The bytes of a request, which may pass the disk's end.
fn range(offset: u64, len: u64) -> Range<u64> {
    offset..offset.saturating_add(len)
}

#[cfg(test)]
mod tests;
