//! How much a tree may still take.

use super::ReadError;
use crate::tree::Limits;

/// What is left of the limits of a tree.
#[derive(Debug)]
pub(super) struct Budget {
    entries_left: u64,
    metadata_left: u64,
    limits: Limits,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            entries_left: limits.entries,
            metadata_left: limits.metadata_bytes,
            limits: limits.clone(),
        }
    }

    /// Takes one more entry of a directory, with a name of so many bytes.
    pub(super) fn entry(&mut self, name_len: usize) -> Result<(), ReadError> {
        let left = self.entries_left.checked_sub(1);
        self.entries_left = left.ok_or(ReadError::TooMuch {
            what: "entries",
            limit: self.limits.entries,
        })?;
        self.metadata(name_len)
    }

    /// Takes bytes of memory, or as much work as they stand for.
    pub(super) fn metadata(&mut self, bytes: usize) -> Result<(), ReadError> {
        let left = self.metadata_left.checked_sub(bytes as u64);
        self.metadata_left = left.ok_or(ReadError::TooMuch {
            what: "bytes of metadata",
            limit: self.limits.metadata_bytes,
        })?;
        Ok(())
    }
}
