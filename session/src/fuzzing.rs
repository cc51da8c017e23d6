//! Private parts for the fuzz targets.

mod words;

use std::path::Path;

use crate::record;

pub use words::Words;

/// Reads the bytes of a session's record, and writes it again; nothing if they are none.
#[must_use]
pub fn rewrite_record(bytes: &[u8]) -> Option<Vec<u8>> {
    let record = record::parse(bytes, Path::new("record.json")).ok()?;
    Some(record.to_bytes())
}
