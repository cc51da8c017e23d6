//! The form of small records on disk: a JSON object that says what it is, and vouches for what it holds.
//!
//! | member | meaning |
//! |---|---|
//! | `format` | the magic |
//! | `version` | of the format |
//! | `crc32c` | checksum of the bytes of `record` |
//! | `record` | what is recorded |
//!
//! Invariant: nothing of a record is looked at before format, version and checksum were found right.

use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The bytes are damaged, or no record of the format.
    #[error("{what}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
    /// The record was written by another version.
    #[error("it has version {found}; this version reads up to {known}")]
    Version {
        /// The version in the record.
        found: u32,
        /// The newest version that is read.
        known: u32,
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

/// What every version of every format starts with.
#[derive(Deserialize)]
struct Preamble {
    format: String,
    version: u32,
}

/// Reads a record of this format and one of these versions.
///
/// # Errors
/// [`EnvelopeError`].
pub fn open_envelope<T: DeserializeOwned>(
    bytes: &[u8],
    format: &str,
    versions: &RangeInclusive<u32>,
) -> Result<T, EnvelopeError> {
    let damaged = |what| EnvelopeError::Damaged { what };
    let preamble: Preamble =
        serde_json::from_slice(bytes).map_err(|_| damaged("it is not JSON of the right form"))?;
    if preamble.format != format {
        return Err(damaged("its format is another one"));
    }
    if !versions.contains(&preamble.version) {
        return Err(EnvelopeError::Version {
            found: preamble.version,
            known: *versions.end(),
        });
    }
    let envelope: Envelope<'_> =
        serde_json::from_slice(bytes).map_err(|_| damaged("it has members that are not known"))?;
    if crc32c::crc32c(envelope.record.get().as_bytes()) != envelope.crc32c {
        return Err(damaged("its checksum is wrong"));
    }
    serde_json::from_str(envelope.record.get()).map_err(|_| damaged("its record cannot be read"))
}

/// The bytes of a record of this format and version.
///
/// # Errors
/// What the encoder said.
pub fn seal_envelope(
    record: &impl Serialize,
    format: &str,
    version: u32,
) -> serde_json::Result<Vec<u8>> {
    let record = serde_json::value::to_raw_value(record)?;
    serde_json::to_vec(&Envelope {
        format: format.to_owned(),
        version,
        crc32c: crc32c::crc32c(record.get().as_bytes()),
        record: &record,
    })
}
