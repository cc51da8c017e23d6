//! Backends whose calls count.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::Calls;
use crate::block::{BlockBackend, ReadTarget, WriteSource};
use crate::net::{NetBackend, OffloadHeader, Offloads};
use crate::seccomp::HostCalls;

/// A disk as one thread of its drive calls it.
pub(crate) struct CountedDisk {
    disk: Arc<dyn BlockBackend>,
    calls: Arc<Calls>,
}

impl CountedDisk {
    pub(crate) fn new(disk: Arc<dyn BlockBackend>, calls: Arc<Calls>) -> Self {
        Self { disk, calls }
    }
}

impl BlockBackend for CountedDisk {
    fn size(&self) -> u64 {
        self.calls.make(|| self.disk.size())
    }
    fn is_read_only(&self) -> bool {
        self.calls.make(|| self.disk.is_read_only())
    }
    fn read_at(&self, target: &mut ReadTarget<'_>, offset: u64) -> io::Result<()> {
        self.calls.make(|| self.disk.read_at(target, offset))
    }
    fn write_at(&self, source: &mut WriteSource<'_>, offset: u64) -> io::Result<()> {
        self.calls.make(|| self.disk.write_at(source, offset))
    }
    fn flush(&self) -> io::Result<()> {
        self.calls.make(|| self.disk.flush())
    }
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.calls.make(|| self.disk.discard(offset, len))
    }
    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        self.calls.make(|| self.disk.write_zeroes(offset, len))
    }
    fn unmap_to_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        self.calls.make(|| self.disk.unmap_to_zeroes(offset, len))
    }
    fn host_calls(&self) -> HostCalls {
        self.disk.host_calls()
    }
}

/// A network as its device's thread calls it.
pub(crate) struct CountedNet {
    network: Box<dyn NetBackend>,
    calls: Arc<Calls>,
}

impl CountedNet {
    pub(crate) fn new(network: Box<dyn NetBackend>, calls: Arc<Calls>) -> Self {
        Self { network, calls }
    }
}

impl AsFd for CountedNet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.network.as_fd()
    }
}

impl NetBackend for CountedNet {
    fn receive(&mut self, frame: &mut [u8], offload: &mut OffloadHeader) -> io::Result<usize> {
        self.calls.make(|| self.network.receive(frame, offload))
    }
    fn send(&mut self, frame: &[u8], offload: &OffloadHeader) -> io::Result<()> {
        self.calls.make(|| self.network.send(frame, offload))
    }
    fn flush(&mut self) -> io::Result<()> {
        self.calls.make(|| self.network.flush())
    }
    fn offloads(&self) -> Offloads {
        self.network.offloads()
    }
    fn use_offloads(&mut self, offloads: Offloads) -> io::Result<()> {
        self.calls.make(|| self.network.use_offloads(offloads))
    }
    fn suggested_mac(&self) -> Option<[u8; 6]> {
        self.network.suggested_mac()
    }
    fn host_calls(&self) -> HostCalls {
        self.network.host_calls()
    }
}
