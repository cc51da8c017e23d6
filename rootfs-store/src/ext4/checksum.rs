//! CRC-32C as ext4 uses it: neither the seed nor the result is inverted.

use super::format::UUID;

/// Goes on from `seed` over `bytes`.
pub(super) fn crc(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

/// What the checksums of all metadata but the superblock start from.
pub(super) fn filesystem_seed() -> u32 {
    crc(u32::MAX, &UUID)
}

/// What the checksums of an inode and of its blocks start from. All our inodes are of generation 0.
pub(super) fn inode_seed(ino: u32) -> u32 {
    let seed = crc(filesystem_seed(), &ino.to_le_bytes());
    crc(seed, &0u32.to_le_bytes())
}
