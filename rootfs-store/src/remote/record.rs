//! Records of where packs are that are not in the store.
//!
//! A record is one JSON file, `remote/<64 digits of the pack's digest>.json` below the store's folder:
//!
//! Its envelope (see `envelope`) has the format `vm-sessions.remote` and version 1.
//!
//! | member of `record` | meaning |
//! |---|---|
//! | `pack` | digest of the pack, `sha256:` and 64 digits |
//! | `bytes` | its size |
//! | `origins` | where it is to be had: 1 to 8 texts like `registry.example:5000/labs/disk`, the latest first |
//!
//! Invariant: the file is replaced as a whole, and a record that was written survives power loss.

use serde::{Deserialize, Serialize};

use crate::digest::BlobDigest;
use crate::envelope::{EnvelopeError, open_envelope, seal_envelope};

const FORMAT: &str = "vm-sessions.remote";
/// The version of records that is written and read here.
pub(crate) const VERSION: u32 = 1;
/// Longest record that is read, in bytes: what all origins of the largest size take, and more.
pub(super) const MAX_RECORD_BYTES: u64 = 16 << 10;
/// Most origins of a pack.
pub(super) const MAX_ORIGINS: usize = 8;
/// Longest name of an origin, in bytes.
const MAX_ORIGIN_BYTES: usize = 512;
/// Largest pack that may be elsewhere, in bytes: far above any that is written, and what file systems can hold.
const MAX_PACK_BYTES: u64 = 1 << 40;

// Records outlive the program that wrote them: a change of their form needs a new version.
const _: () = assert!(VERSION == 1 && MAX_ORIGINS * MAX_ORIGIN_BYTES < 16 << 10);

/// Where a pack is to be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteRecord {
    /// The pack.
    pub pack: BlobDigest,
    /// Its size.
    pub bytes: u64,
    /// Where it is, the latest first.
    pub origins: Vec<String>,
}

impl RemoteRecord {
    /// Reads a record.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let damaged = |what| EnvelopeError::Damaged { what };
        if bytes.len() as u64 > MAX_RECORD_BYTES {
            return Err(damaged("it is longer than any record"));
        }
        let record: Self = open_envelope(bytes, FORMAT, &(VERSION..=VERSION))?;
        record.check().map_err(damaged)?;
        Ok(record)
    }

    /// The record's bytes.
    ///
    /// # Errors
    /// What the encoder said.
    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        seal_envelope(self, FORMAT, VERSION)
    }

    /// Says what is out of bounds, if anything is.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let is_good = |origin: &String| {
            (1..=MAX_ORIGIN_BYTES).contains(&origin.len()) && !origin.contains(char::is_control)
        };
        if self.bytes == 0 || self.bytes > MAX_PACK_BYTES {
            return Err("its size is out of bounds");
        }
        if self.origins.is_empty() || self.origins.len() > MAX_ORIGINS {
            return Err("its number of origins is out of bounds");
        }
        match self.origins.iter().all(is_good) {
            true => Ok(()),
            false => Err("the name of an origin is out of bounds"),
        }
    }

    /// Puts an origin before the others, of which the oldest may go; whether that changed anything.
    pub(super) fn add_origin(&mut self, origin: &str) -> bool {
        if self.origins.first().is_some_and(|first| first == origin) {
            return false;
        }
        self.origins.retain(|known| known != origin);
        self.origins.insert(0, origin.to_owned());
        self.origins.truncate(MAX_ORIGINS);
        true
    }
}

#[cfg(test)]
mod tests;
