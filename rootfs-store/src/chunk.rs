//! Chunks: aligned pieces of a disk, each named by the digest of its plain bytes and stored as one zstd frame.
//!
//! Invariant: bytes that [`decode`] returned hash to the digest that they were asked for by.

use std::io;

use crate::digest::ChunkDigest;
/// Whether a chunk is all zero; such chunks are never stored.
pub(crate) use crate::digest::is_zero;

/// Smallest chunk, in bytes.
pub(crate) const MIN_CHUNK_BYTES: u32 = 16 << 10;
/// Largest chunk, in bytes.
pub(crate) const MAX_CHUNK_BYTES: u32 = 1 << 20;
/// The chunk size of new disks, in bytes: as many as fit a guest's scattered writes without a page per write.
pub const DEFAULT_CHUNK_BYTES: u32 = 64 << 10;
/// zstd's level for chunks: the fastest one, as an import waits for it.
const ZSTD_LEVEL: i32 = 1;

/// Why a frame is not the chunk or page that it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The bytes are no zstd frame, or unpack to more than allowed.
    #[error("the frame of {digest} does not decompress into at most {limit} bytes")]
    Decompress {
        /// Digest of the plain bytes.
        digest: ChunkDigest,
        /// Most plain bytes that were expected.
        limit: usize,
        /// What zstd said.
        source: io::Error,
    },
    /// The plain bytes don't hash to the digest.
    #[error("{digest} is damaged: its bytes hash to {actual}")]
    Digest {
        /// The digest that was expected.
        digest: ChunkDigest,
        /// The digest of the bytes.
        actual: ChunkDigest,
    },
}

/// Compresses chunks; keeps zstd's working memory.
pub(crate) struct Encoder {
    zstd: zstd::bulk::Compressor<'static>,
}

impl Encoder {
    pub(crate) fn new() -> io::Result<Self> {
        let zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
        Ok(Self { zstd })
    }

    /// One zstd frame that holds `plain`.
    pub(crate) fn encode(&mut self, plain: &[u8]) -> io::Result<Vec<u8>> {
        self.zstd.compress(plain)
    }
}

/// Unpacks the frame of `digest` into at most `limit` bytes and verifies them.
///
/// # Errors
/// Any [`FrameError`].
pub(crate) fn decode(
    digest: &ChunkDigest,
    frame: &[u8],
    limit: usize,
) -> Result<Vec<u8>, FrameError> {
    let plain = zstd::bulk::decompress(frame, limit).map_err(|source| FrameError::Decompress {
        digest: *digest,
        limit,
        source,
    })?;
    let actual = ChunkDigest::of(&plain);
    if actual != *digest {
        return Err(FrameError::Digest {
            digest: *digest,
            actual,
        });
    }
    Ok(plain)
}

#[cfg(test)]
mod tests;
