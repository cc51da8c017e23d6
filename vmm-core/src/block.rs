//! The virtio block device (virtio 1.2, section 5.2) and the disks behind it.

mod backend;
mod counters;
mod device;
mod file;
mod reports;
mod request;
mod state;
mod transfer;

pub use backend::BlockBackend;
pub(crate) use counters::DiskCounters;
pub(crate) use device::{Block, info};
pub use file::{FileBackend, FileBackendError};
pub(crate) use reports::ErrorReports;
pub use state::BlockState;
pub use transfer::{MAX_TRANSFER_BYTES, ReadTarget, WriteSource};

/// The unit of all addresses in requests.
pub(crate) const SECTOR_BYTES: u64 = 512;

#[cfg(test)]
mod tests;
