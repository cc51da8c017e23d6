//! The virtio block device (virtio 1.2, section 5.2) and the disks behind it.

mod backend;
mod config_space;
mod counters;
mod device;
mod file;
mod reports;
mod request;
mod state;
mod transfer;

pub use backend::BlockBackend;
pub(crate) use config_space::ConfigSpace;
pub(crate) use counters::DiskCounters;
pub(crate) use device::{Block, info};
pub use file::{FileBackend, FileBackendError};
pub(crate) use reports::ErrorReports;
pub(crate) use request::MAX_CHARGED_BYTES;
pub use state::BlockState;
pub use transfer::{MAX_RANGE_CALL_BYTES, MAX_TRANSFER_BYTES, ReadTarget, WriteSource};

/// The unit of all addresses in requests.
pub(crate) const SECTOR_BYTES: u64 = 512;
/// Entries of a queue.
const QUEUE_SIZE: u16 = 256;
/// Data segments in a request, as the driver is told: what is left of a queue after header and status.
const MAX_SEGMENTS: u32 = QUEUE_SIZE as u32 - 2;
/// Bytes in a segment, as the driver is told; without that, Linux sends no more either.
const MAX_SEGMENT_BYTES: u32 = 64 << 10;
/// The most data in a read or write: more than a driver that keeps to the segments can send. Linux, unless told
/// otherwise, sends 1280 KiB, and 4 MiB from 6.16 on.
const MAX_REQUEST_BYTES: u64 = 16 << 20;
const _: () = assert!(MAX_SEGMENTS as u64 * MAX_SEGMENT_BYTES as u64 <= MAX_REQUEST_BYTES);

#[cfg(test)]
mod tests;
