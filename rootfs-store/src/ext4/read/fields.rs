//! Integers out of blocks.
//!
//! Where a field may lie past the end, it counts as zero: a length that was checked before makes that impossible.

/// The little-endian number at `at`.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

/// The little-endian number at `at`.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

/// The number whose lower half is at `low` and whose upper half is at `high`.
pub(super) fn split_u32_at(bytes: &[u8], low: usize, high: usize) -> u32 {
    u32::from(u16_at(bytes, low)) | u32::from(u16_at(bytes, high)) << 16
}

/// The number whose lower 32 bits are at `low` and whose upper 16 are at `high`.
pub(super) fn split_u48_at(bytes: &[u8], low: usize, high: usize) -> u64 {
    u64::from(u32_at(bytes, low)) | u64::from(u16_at(bytes, high)) << 32
}

/// The number whose lower half is at `low` and whose upper half is at `high`.
pub(super) fn split_u64_at(bytes: &[u8], low: usize, high: usize) -> u64 {
    u64::from(u32_at(bytes, low)) | u64::from(u32_at(bytes, high)) << 32
}

/// The big-endian number at `at`, as journals have them.
pub(super) fn be_u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array_at(bytes, at))
}

/// The big-endian number at `at`, as journals have them.
pub(super) fn be_u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array_at(bytes, at))
}

/// The big-endian number at `at`, as journals have them.
pub(super) fn be_u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array_at(bytes, at))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
    found.copied().unwrap_or([0; N])
}
