//! A store's disk behind the VMM's block device.

use std::io;

use rootfs_store::WritableDisk;
use vmm_core::BlockBackend;

/// The root disk of a session, as its virtio-blk device sees it.
#[derive(Debug)]
pub(crate) struct RootDisk(pub(crate) std::sync::Arc<WritableDisk>);

impl BlockBackend for RootDisk {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buf, offset).map_err(io::Error::other)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(buf, offset).map_err(io::Error::other)
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush().map_err(io::Error::other)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.discard(offset, len).map_err(io::Error::other)
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.write_zeroes(offset, len).map_err(io::Error::other)
    }
}
