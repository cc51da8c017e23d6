//! What the driver reads about a drive, and the one thing in it that the driver may change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use virtio_bindings::bindings::virtio_blk::VIRTIO_BLK_F_CONFIG_WCE;

use super::request::{MAX_RANGE_SECTORS, MAX_RANGES};
use super::{MAX_SEGMENT_BYTES, MAX_SEGMENTS, SECTOR_BYTES};
use crate::config::Drive;
use crate::virtio::{Interrupt, LiveConfig};

/// log2 of physical sectors (4 KiB) over logical ones, so that guests align what they write.
const PHYSICAL_BLOCK_EXPONENT: u8 = 3;
const CONFIG_BYTES: usize = 60;
/// Where `writeback` lies.
const WRITEBACK: usize = 32;
/// The logical block size: a sector.
const BLOCK_BYTES: u32 = 512;
const _: () = assert!(BLOCK_BYTES as u64 == SECTOR_BYTES);

/// `struct virtio_blk_config` of virtio 1.2, section 5.2.4, up to the write-zeroes fields. A drive's queues share it.
#[derive(Debug)]
pub(crate) struct ConfigSpace {
    /// The disk's size when the VM was started.
    disk_bytes: u64,
    /// All of it, with a writeback of 0.
    bytes: [u8; CONFIG_BYTES],
    writeback: AtomicBool,
}

impl ConfigSpace {
    pub(crate) fn of(drive: &Drive) -> Arc<Self> {
        let disk_bytes = drive.backend.size();
        let mut bytes = [0; CONFIG_BYTES];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        let ranges = u32::try_from(MAX_RANGES).unwrap_or(1).to_le_bytes();
        put(0, &(disk_bytes / SECTOR_BYTES).to_le_bytes());
        put(8, &MAX_SEGMENT_BYTES.to_le_bytes());
        put(12, &MAX_SEGMENTS.to_le_bytes());
        put(20, &BLOCK_BYTES.to_le_bytes());
        put(24, &[PHYSICAL_BLOCK_EXPONENT]);
        put(34, &drive.queues.to_le_bytes());
        put(36, &MAX_RANGE_SECTORS.to_le_bytes());
        put(40, &ranges);
        put(44, &(1u32 << PHYSICAL_BLOCK_EXPONENT).to_le_bytes());
        put(48, &MAX_RANGE_SECTORS.to_le_bytes());
        put(52, &ranges);
        put(56, &[1]);
        Arc::new(Self {
            disk_bytes,
            bytes,
            writeback: AtomicBool::new(true),
        })
    }

    /// The size of the disk that the driver is told of.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    /// Whether writes may wait for a flush.
    pub(crate) fn writeback(&self) -> bool {
        self.writeback.load(Ordering::Relaxed)
    }

    /// Takes over what the driver of a saved drive chose.
    pub(crate) fn set_writeback(&self, writeback: bool) {
        self.writeback.store(writeback, Ordering::Relaxed);
    }
}

impl LiveConfig for ConfigSpace {
    fn read(&self, offset: usize, data: &mut [u8]) {
        let mut bytes = self.bytes;
        bytes[WRITEBACK] = self.writeback().into();
        let from = bytes.get(offset..).unwrap_or_default();
        for (byte, value) in data.iter_mut().zip(from) {
            *byte = *value;
        }
    }

    fn write(&self, features: u64, offset: usize, data: &[u8]) {
        let may_choose = features & 1 << VIRTIO_BLK_F_CONFIG_WCE != 0;
        if let (true, WRITEBACK, [value]) = (may_choose, offset, data) {
            self.set_writeback(*value != 0);
        }
    }

    fn reset(&self) {
        self.set_writeback(true);
    }

    fn generation(&self) -> u32 {
        // Only the driver changes anything.
        0
    }

    fn connect(&self, _: Interrupt) {}

    fn disconnect(&self) {}
}
