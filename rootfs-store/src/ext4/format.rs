//! Numbers of the on-disk format (Linux: `fs/ext4/ext4.h`), and how integers get into blocks.

/// Bytes of a block, as a length of what is in memory.
pub(super) const BLOCK_BYTES: usize = BLOCK_BYTES_U16 as usize;
/// Bytes of a block, as what offsets are made of.
pub(super) const BLOCK: u64 = BLOCK_BYTES_U16 as u64;
/// Bytes of a block, as a length of short things.
pub(super) const BLOCK_U32: u32 = BLOCK_BYTES_U16 as u32;
const BLOCK_BYTES_U16: u16 = 4096;
/// Blocks of a group: as many as one block of bitmap has bits.
pub(super) const BLOCKS_PER_GROUP: u64 = 8 * BLOCK;
/// Most inodes of a group, for the same reason.
pub(super) const MAX_INODES_PER_GROUP: u32 = 8 * BLOCK_U32;
pub(super) const INODE_BYTES: usize = INODE_BYTES_U16 as usize;
pub(super) const INODE_BYTES_U16: u16 = 256;
pub(super) const INODES_PER_BLOCK: u32 = BLOCK_U32 / INODE_BYTES_U16 as u32;
/// Bytes of an inode beyond the first 128 that have a meaning; extended attributes follow them.
pub(super) const EXTRA_INODE_BYTES: u16 = 32;
pub(super) const DESCRIPTOR_BYTES: usize = DESCRIPTOR_BYTES_U16 as usize;
pub(super) const DESCRIPTOR_BYTES_U16: u16 = 64;
pub(super) const DESCRIPTORS_PER_BLOCK: u32 = BLOCK_U32 / DESCRIPTOR_BYTES_U16 as u32;
/// Most blocks of an initialised extent.
pub(super) const MAX_EXTENT_BLOCKS: u64 = 32768;

/// Number of the root directory's inode.
pub(super) const ROOT_INO: u32 = 2;
/// Number of the inode that owns the room for more group descriptors.
pub(super) const RESIZE_INO: u32 = 7;
/// Number of the journal's inode.
pub(super) const JOURNAL_INO: u32 = 8;
/// First inode number that is not reserved; it goes to `lost+found`.
pub(super) const FIRST_INO: u32 = 11;

/// Names the file system, and seeds its checksums: the same for every disk, so that equal files make equal disks.
pub(super) const UUID: [u8; 16] = [
    0x0b, 0x8d, 0x5b, 0x5e, 0x7c, 0x1f, 0x8a, 0x3e, 0x9d, 0x64, 0x65, 0x78, 0x74, 0x34, 0xd1, 0x5c,
];
/// Seeds the hashes of names in directories.
pub(super) const HASH_SEED: [u32; 4] = [0x3f1d_60c2, 0x8e47_4a5b, 0x91c6_d20e, 0x57b8_0f93];

/// Types of files in the upper bits of an inode's mode.
pub(super) mod mode {
    pub(in super::super) const FIFO: u16 = 0x1000;
    pub(in super::super) const CHAR_DEVICE: u16 = 0x2000;
    pub(in super::super) const DIRECTORY: u16 = 0x4000;
    pub(in super::super) const BLOCK_DEVICE: u16 = 0x6000;
    pub(in super::super) const FILE: u16 = 0x8000;
    pub(in super::super) const SYMLINK: u16 = 0xa000;
}

/// Flags of an inode.
pub(super) mod flag {
    pub(in super::super) const ENCRYPTED: u32 = 0x800;
    pub(in super::super) const INDEX: u32 = 0x1000;
    pub(in super::super) const EXTENTS: u32 = 0x8_0000;
    pub(in super::super) const EA_INODE: u32 = 0x20_0000;
    pub(in super::super) const INLINE_DATA: u32 = 0x1000_0000;
}

/// Magic of extended attributes, in an inode and in a block.
pub(super) const XATTR_MAGIC: u32 = 0xea02_0000;

pub(super) fn put_u16(block: &mut [u8], at: usize, value: u16) {
    block[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

pub(super) fn put_u32(block: &mut [u8], at: usize, value: u32) {
    block[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Puts the lower half of `value` at `low` and the upper half at `high`.
pub(super) fn put_split_u32(block: &mut [u8], low: usize, high: usize, value: u32) {
    let bytes = value.to_le_bytes();
    block[low..low + 2].copy_from_slice(&bytes[..2]);
    block[high..high + 2].copy_from_slice(&bytes[2..]);
}

/// Puts the lower half of `value` at `low` and the upper half at `high`.
pub(super) fn put_split_u64(block: &mut [u8], low: usize, high: usize, value: u64) {
    let bytes = value.to_le_bytes();
    block[low..low + 4].copy_from_slice(&bytes[..4]);
    block[high..high + 4].copy_from_slice(&bytes[4..]);
}

/// Puts a number of 48 bits: the lower 32 at `low`, the upper 16 at `high`.
pub(super) fn put_split_u48(block: &mut [u8], low: usize, high: usize, value: u64) {
    let bytes = value.to_le_bytes();
    block[low..low + 4].copy_from_slice(&bytes[..4]);
    block[high..high + 2].copy_from_slice(&bytes[4..6]);
}

/// The lower half.
pub(super) fn low_u32(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

/// The lower half.
pub(super) fn low_u16(value: u32) -> u16 {
    (value & 0xffff) as u16
}
