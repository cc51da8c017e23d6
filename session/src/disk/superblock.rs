//! The word of an ext4 file system about itself.

/// Where the superblock is on the disk.
pub(super) const OFFSET: u64 = 1024;

/// As much of it as is looked at.
pub(super) const BYTES: usize = 0x64;

const MAGIC_AT: usize = 0x38;
const MAGIC: [u8; 2] = 0xef53_u16.to_le_bytes();

/// `s_feature_incompat`, and `EXT4_FEATURE_INCOMPAT_RECOVER` in it: set while the file system is mounted for writing.
const INCOMPAT_AT: usize = 0x60;
const INCOMPAT_RECOVER: u8 = 0x4;

/// Whether this is the superblock of an ext4 file system whose journal has nothing to replay.
pub(super) fn is_clean(superblock: &[u8; BYTES]) -> bool {
    superblock[MAGIC_AT..].starts_with(&MAGIC) && superblock[INCOMPAT_AT] & INCOMPAT_RECOVER == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_ext4_that_needs_no_recovery_is_clean() {
        let mut superblock = [0; BYTES];
        assert!(!is_clean(&superblock));
        superblock[MAGIC_AT..MAGIC_AT + 2].copy_from_slice(&MAGIC);
        // Extents, 64 bit and the like.
        superblock[INCOMPAT_AT] = 0xc2;
        assert!(is_clean(&superblock));
        superblock[INCOMPAT_AT] |= INCOMPAT_RECOVER;
        assert!(!is_clean(&superblock));
    }
}
