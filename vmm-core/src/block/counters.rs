//! What is asked of a disk, counted.

use crate::event::DiskOperation;
use crate::metrics::{Counter, DiskMetrics};

/// Counts of one drive, all queues together.
#[derive(Debug, Default)]
pub(crate) struct DiskCounters {
    reads: Counter,
    read_bytes: Counter,
    writes: Counter,
    written_bytes: Counter,
    flushes: Counter,
    discards: Counter,
    errors: Counter,
    refused: Counter,
}

impl DiskCounters {
    /// The backend did `operation`, which moved so many bytes of the disk.
    pub(super) fn done(&self, operation: DiskOperation, bytes: u64) {
        match operation {
            DiskOperation::Read => {
                self.reads.one();
                self.read_bytes.add(bytes);
            }
            DiskOperation::Write => {
                self.writes.one();
                self.written_bytes.add(bytes);
            }
            DiskOperation::Flush => self.flushes.one(),
            DiskOperation::Discard | DiskOperation::WriteZeroes => self.discards.one(),
        }
    }

    pub(super) fn failed(&self) {
        self.errors.one();
    }

    pub(super) fn refused(&self) {
        self.refused.one();
    }

    pub(crate) fn read(&self) -> DiskMetrics {
        DiskMetrics {
            reads: self.reads.get(),
            read_bytes: self.read_bytes.get(),
            writes: self.writes.get(),
            written_bytes: self.written_bytes.get(),
            flushes: self.flushes.get(),
            discards: self.discards.get(),
            errors: self.errors.get(),
            refused: self.refused.get(),
        }
    }
}
