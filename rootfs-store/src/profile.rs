//! Boot profiles: which chunks of a disk a machine read while it started, in order.
//!
//! A profile is a small blob that a snapshot's manifest names. Who starts a machine from a snapshot whose packs are
//! elsewhere fetches these chunks first, with few requests. It is a hint: a wrong one costs time, never correctness.
//! Numbers are little-endian.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | magic `VMS-BOOT` |
//! | 4 | version, 1 |
//! | 4 | n, the number of chunks: 0 to 65,536 |
//! | 4 · n | numbers of the chunks, in the order of their first reads |
//! | 4 | CRC-32C of all before |
//!
//! Invariant: no chunk is in a profile twice.

use std::collections::HashSet;

use crate::digest::SnapshotDigest;
use crate::store::{Store, StoreError};

const MAGIC: [u8; 8] = *b"VMS-BOOT";
/// The version of profiles that is written and read here.
pub(crate) const PROFILE_VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
const CRC_BYTES: usize = 4;
/// Most chunks of a profile: 4 GiB of the default size.
pub(crate) const MAX_PROFILE_CHUNKS: usize = 1 << 16;
/// Largest profile, in bytes.
pub(crate) const MAX_PROFILE_BYTES: usize = HEADER_BYTES + 4 * MAX_PROFILE_CHUNKS + CRC_BYTES;

// Profiles of this version live in users' registries: a change of their form needs a new version.
const _: () = assert!(MAX_PROFILE_BYTES == 262_164 && PROFILE_VERSION == 1);

/// The chunks that a start read, in the order of their first reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootProfile {
    chunks: Vec<u32>,
}

/// Why bytes are no boot profile.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The bytes don't begin as a profile does.
    #[error("it does not begin as a boot profile")]
    NoProfile,
    /// The profile was written by a newer version.
    #[error("it is a boot profile of version {found}; this version reads {PROFILE_VERSION}")]
    Version {
        /// The version in the profile.
        found: u32,
    },
    /// The length is not what the number of chunks needs.
    #[error("its {len} bytes are not what {chunks} chunks take")]
    Length {
        /// Length in bytes.
        len: usize,
        /// Chunks that it claims.
        chunks: u32,
    },
    /// The checksum is wrong.
    #[error("its checksum is wrong")]
    Checksum,
    /// It names a chunk twice.
    #[error("it names chunk {chunk} twice")]
    Twice {
        /// The chunk.
        chunk: u32,
    },
}

impl Store {
    /// The boot profile of a snapshot, if it has one that can be used.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn boot_profile(
        &self,
        snapshot: &SnapshotDigest,
    ) -> Result<Option<BootProfile>, StoreError> {
        let Some(blob) = self.snapshot(snapshot)?.profile else {
            return Ok(None);
        };
        let bytes = self.blobs().document(&blob.digest)?;
        let parsed = bytes.map(|bytes| BootProfile::parse(&bytes)).transpose();
        // It is a hint only.
        let known =
            parsed.inspect_err(|error| tracing::warn!(%snapshot, %error, "no boot profile"));
        Ok(known.unwrap_or_default())
    }
}

impl BootProfile {
    /// A profile of the chunks that were read, in the order of their first reads: the first 65,536 of them.
    #[must_use]
    pub fn of(chunks: impl IntoIterator<Item = u64>) -> Self {
        let mut seen = HashSet::new();
        let chunks = chunks
            .into_iter()
            .filter_map(|chunk| u32::try_from(chunk).ok());
        let first = chunks.filter(|chunk| seen.insert(*chunk));
        Self {
            chunks: first.take(MAX_PROFILE_CHUNKS).collect(),
        }
    }

    /// The numbers of the chunks, in the order of their first reads.
    pub fn chunks(&self) -> impl ExactSizeIterator<Item = u64> {
        self.chunks.iter().map(|chunk| u64::from(*chunk))
    }

    /// The profile as a blob.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let count = u32::try_from(self.chunks.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEADER_BYTES + 4 * self.chunks.len() + CRC_BYTES);
        bytes.extend_from_slice(&MAGIC);
        let numbers = [PROFILE_VERSION, count];
        for number in numbers.iter().chain(&self.chunks) {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// Reads a blob.
    ///
    /// # Errors
    /// Any [`ProfileError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ProfileError> {
        let Some(rest) = bytes.strip_prefix(&MAGIC) else {
            return Err(ProfileError::NoProfile);
        };
        let (numbers, []) = rest.as_chunks() else {
            return Err(ProfileError::NoProfile);
        };
        let numbers: Vec<_> = numbers
            .iter()
            .map(|number| u32::from_le_bytes(*number))
            .collect();
        let [version, count, chunks @ .., crc] = numbers.as_slice() else {
            return Err(ProfileError::NoProfile);
        };
        if *version != PROFILE_VERSION {
            return Err(ProfileError::Version { found: *version });
        }
        if chunks.len() > MAX_PROFILE_CHUNKS || chunks.len() != *count as usize {
            return Err(ProfileError::Length {
                len: bytes.len(),
                chunks: *count,
            });
        }
        if crc32c::crc32c(&bytes[..bytes.len() - CRC_BYTES]) != *crc {
            return Err(ProfileError::Checksum);
        }
        let mut seen = HashSet::new();
        match chunks.iter().find(|chunk| !seen.insert(**chunk)) {
            Some(chunk) => Err(ProfileError::Twice { chunk: *chunk }),
            None => Ok(Self {
                chunks: chunks.to_vec(),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
