//! The journal, empty.

use super::format::BLOCK_U32;

/// Fills the first block of a journal that has `blocks` of them; the others are zero.
///
/// Linux turns on checksums when it mounts the file system.
pub(super) fn render_superblock(block: &mut [u8], blocks: u32) {
    const MAGIC: u32 = 0xc03b_3998;
    const SUPERBLOCK_V2: u32 = 4;
    // Unlike everything else, journals are big-endian.
    let mut put = |at: usize, value: u32| block[at..at + 4].copy_from_slice(&value.to_be_bytes());
    put(0x00, MAGIC);
    put(0x04, SUPERBLOCK_V2);
    put(0x0c, BLOCK_U32);
    put(0x10, blocks);
    // Where the log starts, the first sequence number, and how many file systems use it.
    put(0x14, 1);
    put(0x18, 1);
    put(0x40, 1);
}
