//! Records of where packs are that are not in the store.
//!
//! A record is one JSON file, `remote/<64 digits of the pack's digest>.json` below the store's folder:
//!
//! | member | meaning |
//! |---|---|
//! | `format` | `vm-sessions.remote`, the magic |
//! | `version` | 1 |
//! | `crc32c` | checksum of the bytes of `record` |
//! | `record` | what is recorded |
//!
//! | member of `record` | meaning |
//! |---|---|
//! | `pack` | digest of the pack, `sha256:` and 64 digits |
//! | `bytes` | its size |
//! | `origins` | where it is to be had: 1 to 8 texts like `registry.example:5000/labs/disk`, the latest first |
//!
//! Invariant: the file is replaced as a whole, and a record that was written survives power loss.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::digest::BlobDigest;

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

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The bytes are damaged, or no record.
    #[error("{what}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
    /// The record was written by a newer version.
    #[error("it has version {found}; this version reads {VERSION}")]
    Version {
        /// The version in the record.
        found: u32,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    format: String,
    version: u32,
    crc32c: u32,
    #[serde(borrow)]
    record: &'a RawValue,
}

/// What every version of the format starts with.
#[derive(Deserialize)]
struct Preamble {
    format: String,
    version: u32,
}

impl RemoteRecord {
    /// Reads a record.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let damaged = |what| RecordError::Damaged { what };
        if bytes.len() as u64 > MAX_RECORD_BYTES {
            return Err(damaged("it is longer than any record"));
        }
        let preamble: Preamble = serde_json::from_slice(bytes)
            .map_err(|_| damaged("it is not JSON of the right form"))?;
        if preamble.format != FORMAT {
            return Err(damaged("its format is another one"));
        }
        if preamble.version != VERSION {
            let found = preamble.version;
            return Err(RecordError::Version { found });
        }
        let envelope: Envelope<'_> = serde_json::from_slice(bytes)
            .map_err(|_| damaged("it has members that are not known"))?;
        if crc32c::crc32c(envelope.record.get().as_bytes()) != envelope.crc32c {
            return Err(damaged("its checksum is wrong"));
        }
        let record: Self = serde_json::from_str(envelope.record.get())
            .map_err(|_| damaged("its record can't be read"))?;
        record.check().map_err(damaged)?;
        Ok(record)
    }

    /// The record's bytes.
    ///
    /// # Errors
    /// What the encoder said.
    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let record = serde_json::value::to_raw_value(self)?;
        serde_json::to_vec(&Envelope {
            format: FORMAT.to_owned(),
            version: VERSION,
            crc32c: crc32c::crc32c(record.get().as_bytes()),
            record: &record,
        })
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
