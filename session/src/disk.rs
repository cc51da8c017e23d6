//! A store's disk behind the VMM's block device.
//!
//! Invariant: once the host has failed to write or flush, [`RootDisk::failure`] says so for ever: what the disk then
//! holds is what a guest saw that was told of an error, and no snapshot may be made of it unseen.

use std::io;
use std::sync::OnceLock;

use rootfs_store::{DiskError, WritableDisk};
use vmm_core::BlockBackend;

use crate::error::one_line;

/// The root disk of a session, as its virtio-blk device sees it.
#[derive(Debug)]
pub(crate) struct RootDisk {
    disk: WritableDisk,
    failure: OnceLock<Failure>,
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
        }
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
