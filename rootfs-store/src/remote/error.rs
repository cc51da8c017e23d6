//! What can be wrong with packs that are elsewhere.

use std::path::PathBuf;
use std::time::Duration;

use super::OriginError;
use super::record::VERSION;
use crate::chunk::FrameError;
use crate::digest::BlobDigest;

/// Why a pack that is elsewhere could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// No origin could be reached for as long as a read waits.
    #[error("pack {pack} could not be read from {origin} in {} seconds", waited.as_secs())]
    Unreachable {
        /// The pack.
        pack: BlobDigest,
        /// The origin that was tried last.
        origin: String,
        /// How long was waited.
        waited: Duration,
        /// What it said.
        source: OriginError,
    },
    /// No origin gives the pack.
    #[error(
        "pack {pack} can't be had from {origin}: push it there again, or pull the snapshot from elsewhere"
    )]
    Refused {
        /// The pack.
        pack: BlobDigest,
        /// The origin that was tried last.
        origin: String,
        /// What it said.
        source: OriginError,
    },
    /// What the origins give is not the chunk or page that the index says.
    #[error("pack {pack} is damaged at byte {offset} in {origin}")]
    Damaged {
        /// The pack.
        pack: BlobDigest,
        /// Where the frame starts.
        offset: u64,
        /// Where the bytes came from.
        origin: String,
        /// What is wrong.
        source: Box<FrameError>,
    },
    /// All bytes were fetched, and again what looked damaged, but they are another blob.
    #[error("what {origin} gives for pack {pack} is another blob, {actual}")]
    Content {
        /// The pack.
        pack: BlobDigest,
        /// Where the bytes came from.
        origin: String,
        /// The digest of the bytes.
        actual: BlobDigest,
    },
    /// An index names bytes that are no frame of the pack: past its end, or too many.
    #[error("bytes {offset} to {end} can't be a frame of pack {pack}, which has {bytes}")]
    OutOfRange {
        /// The pack.
        pack: BlobDigest,
        /// First byte.
        offset: u64,
        /// One past the last byte.
        end: u64,
        /// Size of the pack.
        bytes: u64,
    },
    /// The pack is not here, and there is no record of where it is.
    #[error("pack {pack} is neither here nor known to be elsewhere: pull the snapshot again")]
    Unknown {
        /// The pack.
        pack: BlobDigest,
    },
    /// The record of where a pack is can't be used.
    #[error("{path} can't be used, {what}: pull the snapshot again")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The record of where a pack is was written by a newer version.
    #[error("{path} has version {found}; this version reads {VERSION}")]
    RecordVersion {
        /// The file.
        path: PathBuf,
        /// The version that it has.
        found: u32,
    },
    /// No record can say this.
    #[error("pack {pack} can't be looked for in `{origin}`: {what}")]
    Bounds {
        /// The pack.
        pack: BlobDigest,
        /// The origin that was named.
        origin: String,
        /// What is out of bounds.
        what: &'static str,
    },
    /// The caller wanted no more; what was fetched stays.
    #[error("the transfer was cancelled")]
    Cancelled,
}

impl RemoteError {
    /// Whether it is for want of an origin that gives what is asked for, and may be over when one does.
    #[must_use]
    pub fn is_of_origins(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Refused { .. } | Self::Damaged { .. }
        )
    }
}
