//! A store's disk behind the VMM's block device.
//!
//! Invariant: once the host has failed to write or flush, [`RootDisk::failure`] says so for ever: what the disk then
//! holds is what a guest saw that was told of an error, and no snapshot may be made of it unseen.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rootfs_store::{BootProfile, DiskError, WritableDisk};
use vmm_core::BlockBackend;

use crate::error::one_line;

/// How long after a guest is ready its reads still belong to its start, unless a command ends before.
const START_TAIL: Duration = Duration::from_secs(10);

/// The root disk of a session, as its virtio-blk device sees it.
#[derive(Debug)]
pub(crate) struct RootDisk {
    disk: WritableDisk,
    failure: OnceLock<Failure>,
    /// Whether reads are recorded for the next start.
    records: AtomicBool,
    /// Since when the guest takes commands.
    ready: OnceLock<Instant>,
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

    /// The first failure to write or flush.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.failure.get()
    }

    fn changed(&self, action: &'static str, result: Result<(), DiskError>) -> io::Result<()> {
        result.map_err(|error| {
            let message = one_line(&error);
            tracing::error!(message, "the host could not {action} a session's disk");
            let _ = self.failure.set(Failure { action, message });
            io::Error::other(error)
        })
    }
}

impl BlockBackend for RootDisk {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if self.records.load(Ordering::Relaxed) && self.has_started() {
            self.end_recording();
        }
        self.disk
            .read_at(buf, offset)
            .inspect_err(|error| tracing::error!(message = one_line(error), "a read failed"))
            .map_err(io::Error::other)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.changed("write to", self.disk.write_at(buf, offset))
    }

    fn flush(&self) -> io::Result<()> {
        self.changed("flush", self.disk.flush())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.changed("trim", self.disk.discard(offset, len))
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        self.changed("clear a part of", self.disk.write_zeroes(offset, len))
    }
}
