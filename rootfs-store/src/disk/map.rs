//! The file that says which blocks of a disk its overlay holds.
//!
//! It is made of sectors of 512 bytes, which storage writes as a whole or not at all. Numbers are little-endian.
//!
//! | sector | bytes | content |
//! |---|---|---|
//! | 0 | 8 | magic `VMS-DISK` |
//! | | 4 | version, 2 |
//! | | 4 | block size in bytes, 4096 |
//! | | 8 | disk size in bytes |
//! | | 32 | digest of the base snapshot |
//! | | 4 | 1 if the overlay lies over the one before it, 0 if it lies on the base alone |
//! | | 448 | zero |
//! | | 4 | CRC-32C of all before |
//! | 1… | 508 | one bit a block, lowest first: set if the overlay holds the block |
//! | | 4 | CRC-32C of the sector's number (4) and the bits; a sector that was never written is all zero |
//!
//! Version 1 has only zeros after the base's digest, so its overlays lie on their bases alone.
//!
//! Invariant: bits are only ever set, never cleared, so a mix of older and newer sectors is no inconsistency: it
//! lacks some blocks that no flush has promised.

use crate::digest::{DIGEST_BYTES, SnapshotDigest};

/// Bytes of a sector.
pub(crate) const SECTOR_BYTES: usize = 512;
/// Bytes of a block, as a length.
pub(crate) const BLOCK_LEN: usize = 4096;
/// Bytes of a block.
pub const BLOCK_BYTES: u64 = BLOCK_LEN as u64;
const MAGIC: [u8; 8] = *b"VMS-DISK";
/// The version of maps that is written here; older ones are read too.
pub(crate) const MAP_VERSION: u32 = 2;
const FIRST_VERSION: u32 = 1;
/// Where the header says what the overlay lies over.
const OVER_AT: usize = 24 + DIGEST_BYTES;
/// Bytes of a sector that hold bits.
pub(crate) const BITS_BYTES: usize = SECTOR_BYTES - 4;
/// Blocks that one sector of bits stands for.
pub(crate) const SECTOR_BLOCKS: u64 = BITS_BYTES as u64 * 8;

// Maps of this version belong to users' sessions: a change of their form needs a new version.
const _: () = assert!(SECTOR_BLOCKS == 4064 && BLOCK_BYTES == 4096 && MAP_VERSION == 2);

/// Why bytes are no map.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// The file doesn't begin as a map does.
    #[error("it does not begin as the map of a disk")]
    NoMap,
    /// The map was written by a newer version.
    #[error("it is a map of version {found}; this version reads {FIRST_VERSION} to {MAP_VERSION}")]
    Version {
        /// The version in the header.
        found: u32,
    },
    /// A checksum is wrong.
    #[error("the checksum of its sector {sector} is wrong")]
    Checksum {
        /// Number of the sector.
        sector: u64,
    },
    /// The header's sizes are not possible.
    #[error("its header claims a disk of {disk_bytes} bytes in blocks of {block_bytes}")]
    Sizes {
        /// Size of the disk in bytes.
        disk_bytes: u64,
        /// Size of a block in bytes.
        block_bytes: u32,
    },
    /// The header names nothing that an overlay can lie over.
    #[error("its header says that it lies over something of kind {over}")]
    Over {
        /// The kind.
        over: u32,
    },
    /// The file is shorter or longer than its disk needs.
    #[error("it has {found} bytes, but its disk needs {expected}")]
    Length {
        /// Length in bytes.
        found: u64,
        /// The length that the disk needs.
        expected: u64,
    },
}

/// The first sector of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Size of the disk in bytes.
    pub disk_bytes: u64,
    /// The snapshot that the lowest overlay lies on.
    pub base: SnapshotDigest,
    /// Whether the overlay lies over the one before it; else it lies on the base alone.
    pub over_previous: bool,
}

impl Header {
    /// The sector's bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; SECTOR_BYTES] {
        let mut bytes = [0; SECTOR_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&MAP_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&4096u32.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.disk_bytes.to_le_bytes());
        bytes[24..24 + DIGEST_BYTES].copy_from_slice(self.base.as_bytes());
        bytes[OVER_AT] = u8::from(self.over_previous);
        let crc = crc32c::crc32c(&bytes[..BITS_BYTES]);
        bytes[BITS_BYTES..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the first sector of a file of `file_bytes`.
    ///
    /// # Errors
    /// Any [`MapError`].
    pub fn parse(bytes: &[u8; SECTOR_BYTES], file_bytes: u64) -> Result<Self, MapError> {
        if bytes[..8] != MAGIC {
            return Err(MapError::NoMap);
        }
        let version = u32_at(bytes, 8);
        if !(FIRST_VERSION..=MAP_VERSION).contains(&version) {
            return Err(MapError::Version { found: version });
        }
        if crc32c::crc32c(&bytes[..BITS_BYTES]) != u32_at(bytes, BITS_BYTES) {
            return Err(MapError::Checksum { sector: 0 });
        }
        let disk_bytes = u64::from(u32_at(bytes, 16)) | u64::from(u32_at(bytes, 20)) << 32;
        let block_bytes = u32_at(bytes, 12);
        let possible = disk_bytes > 0
            && disk_bytes <= crate::manifest::MAX_DISK_BYTES
            && disk_bytes.is_multiple_of(BLOCK_BYTES);
        if u64::from(block_bytes) != BLOCK_BYTES || !possible {
            return Err(MapError::Sizes {
                disk_bytes,
                block_bytes,
            });
        }
        let over = u32_at(bytes, OVER_AT);
        if over > 1 || over == 1 && version == FIRST_VERSION {
            return Err(MapError::Over { over });
        }
        let expected = file_len(disk_bytes);
        if file_bytes != expected {
            return Err(MapError::Length {
                found: file_bytes,
                expected,
            });
        }
        let mut base = [0; DIGEST_BYTES];
        base.copy_from_slice(&bytes[24..24 + DIGEST_BYTES]);
        Ok(Self {
            disk_bytes,
            base: SnapshotDigest::from_bytes(base),
            over_previous: over == 1,
        })
    }
}

/// Length of the map of a disk, in bytes.
pub(crate) fn file_len(disk_bytes: u64) -> u64 {
    (1 + (disk_bytes / BLOCK_BYTES).div_ceil(SECTOR_BLOCKS)) * SECTOR_BYTES as u64
}

/// A sector of bits, sealed with its checksum; `number` counts the sectors of bits from 0.
#[must_use]
pub fn seal_sector(number: u64, bits: &[u8; BITS_BYTES]) -> [u8; SECTOR_BYTES] {
    let mut bytes = [0; SECTOR_BYTES];
    bytes[..BITS_BYTES].copy_from_slice(bits);
    bytes[BITS_BYTES..].copy_from_slice(&sector_crc(number, bits).to_le_bytes());
    bytes
}

/// The bits of sector `number`, counted from 0 after the header.
///
/// # Errors
/// [`MapError::Checksum`].
pub fn open_sector(number: u64, bytes: &[u8; SECTOR_BYTES]) -> Result<[u8; BITS_BYTES], MapError> {
    let mut bits = [0; BITS_BYTES];
    bits.copy_from_slice(&bytes[..BITS_BYTES]);
    if *bytes != [0; SECTOR_BYTES] && sector_crc(number, &bits) != u32_at(bytes, BITS_BYTES) {
        return Err(MapError::Checksum { sector: number + 1 });
    }
    Ok(bits)
}

fn sector_crc(number: u64, bits: &[u8; BITS_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()[..4]), bits)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests;
