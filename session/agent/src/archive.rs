//! Files as tar streams, on either side.
//!
//! The reader trusts nothing: whatever a stream says, files appear in the chosen folder alone. It understands plain,
//! GNU and PAX headers, of the latter names, links and owners.

mod error;
mod kernel_fs;
mod name;
mod pack;
#[cfg(test)]
mod tests;
mod unpack;

pub use error::ArchiveError;
pub use pack::pack;
pub use unpack::{Limits, Ownership, Unpacker};

/// How many bytes pass between two reports of a copy's progress.
const REPORT_BYTES: u64 = 1 << 20;

/// What is read or written at once.
const BUFFER_BYTES: usize = 64 << 10;
