//! The superblock.

use super::checksum::crc;
use super::format::{
    BLOCKS_PER_GROUP, DESCRIPTOR_BYTES_U16, EXTRA_INODE_BYTES, FIRST_INO, HASH_SEED,
    INODE_BYTES_U16, JOURNAL_INO, UUID, low_u16, low_u32, put_split_u64, put_u16, put_u32,
};
use super::geometry::Geometry;
use super::inode::BODY_BYTES;

/// Where the superblock is in the first block of the disk; in copies it is at the start of the block.
pub(super) const OFFSET: usize = 1024;
pub(super) const BYTES: usize = 1024;
/// Bytes of a label at most.
pub(crate) const LABEL_BYTES: usize = 16;

mod compatible {
    pub(super) const HAS_JOURNAL: u32 = 0x4;
    pub(super) const EXT_ATTR: u32 = 0x8;
    pub(super) const RESIZE_INODE: u32 = 0x10;
    pub(super) const DIR_INDEX: u32 = 0x20;
}

mod incompatible {
    pub(super) const FILETYPE: u32 = 0x2;
    pub(super) const EXTENTS: u32 = 0x40;
    pub(super) const BIT64: u32 = 0x80;
    pub(super) const FLEX_BG: u32 = 0x200;
    pub(super) const EA_INODE: u32 = 0x400;
}

mod read_only {
    pub(super) const SPARSE_SUPER: u32 = 0x1;
    pub(super) const LARGE_FILE: u32 = 0x2;
    pub(super) const HUGE_FILE: u32 = 0x8;
    pub(super) const DIR_NLINK: u32 = 0x20;
    pub(super) const EXTRA_ISIZE: u32 = 0x40;
    pub(super) const METADATA_CSUM: u32 = 0x400;
}

/// What the superblock says beyond the geometry.
#[derive(Debug)]
pub(super) struct Totals {
    pub(super) free_blocks: u64,
    pub(super) free_inodes: u32,
    /// Whether values of extended attributes have inodes of their own.
    pub(super) value_inodes: bool,
    /// What the journal's inode says about its blocks, and its length in bytes.
    pub(super) journal: ([u8; BODY_BYTES], u64),
    /// The name of the file system, with zeros after it.
    pub(super) label: [u8; LABEL_BYTES],
}

/// Renders the superblock, or the copy of it that `group` starts with.
pub(super) fn render(geometry: &Geometry, totals: &Totals, group: u32) -> [u8; BYTES] {
    const MAGIC: u16 = 0xef53;
    const CHECKSUM: usize = 0x3fc;
    let mut block = [0; BYTES];
    let out = &mut block[..];
    put_sizes(out, geometry, totals);
    // Never checked because of its age or of how often it was mounted.
    put_u16(out, 0x36, u16::MAX);
    put_u16(out, 0x38, MAGIC);
    // Clean; continue after errors; revision 1.
    put_u16(out, 0x3a, 1);
    put_u16(out, 0x3c, 1);
    put_u32(out, 0x4c, 1);
    put_u16(out, 0x5a, low_u16(group));
    put_features(out, totals);
    out[0x68..0x78].copy_from_slice(&UUID);
    out[0x78..0x78 + LABEL_BYTES].copy_from_slice(&totals.label);
    for (word, at) in HASH_SEED.iter().zip((0xec..).step_by(4)) {
        put_u32(out, at, *word);
    }
    out[0xfc] = super::dirhash::HALF_MD4;
    // Names are hashed as signed bytes.
    put_u32(out, 0x160, 1);
    // Mount options by default: extended attributes and access control lists.
    put_u32(out, 0x100, 0xc);
    put_journal(out, totals);
    // Checksums are CRC-32C.
    out[0x175] = 1;
    let sum = crc(u32::MAX, &out[..CHECKSUM]);
    put_u32(out, CHECKSUM, sum);
    block
}

fn put_sizes(out: &mut [u8], geometry: &Geometry, totals: &Totals) {
    /// Logarithm of the groups whose metadata later growth puts together; mke2fs's default.
    const LOG_GROUPS_PER_FLEX: u8 = 4;
    put_u32(out, 0x00, geometry.inodes());
    put_split_u64(out, 0x04, 0x150, geometry.blocks);
    put_split_u64(out, 0x0c, 0x158, totals.free_blocks);
    put_u32(out, 0x10, totals.free_inodes);
    // Blocks and clusters have 1024 << 2 bytes.
    put_u32(out, 0x18, 2);
    put_u32(out, 0x1c, 2);
    put_u32(out, 0x20, low_u32(BLOCKS_PER_GROUP));
    put_u32(out, 0x24, low_u32(BLOCKS_PER_GROUP));
    put_u32(out, 0x28, geometry.inodes_per_group);
    put_u32(out, 0x54, FIRST_INO);
    put_u16(out, 0x58, INODE_BYTES_U16);
    put_u16(out, 0xce, low_u16(geometry.reserved_descriptor_blocks));
    put_u16(out, 0xfe, DESCRIPTOR_BYTES_U16);
    put_u16(out, 0x15c, EXTRA_INODE_BYTES);
    put_u16(out, 0x15e, EXTRA_INODE_BYTES);
    out[0x174] = LOG_GROUPS_PER_FLEX;
}

fn put_features(out: &mut [u8], totals: &Totals) {
    let mut incompatible = incompatible::FILETYPE
        | incompatible::EXTENTS
        | incompatible::BIT64
        | incompatible::FLEX_BG;
    if totals.value_inodes {
        incompatible |= incompatible::EA_INODE;
    }
    put_u32(
        out,
        0x5c,
        compatible::HAS_JOURNAL
            | compatible::EXT_ATTR
            | compatible::RESIZE_INODE
            | compatible::DIR_INDEX,
    );
    put_u32(out, 0x60, incompatible);
    put_u32(
        out,
        0x64,
        read_only::SPARSE_SUPER
            | read_only::LARGE_FILE
            | read_only::HUGE_FILE
            | read_only::DIR_NLINK
            | read_only::EXTRA_ISIZE
            | read_only::METADATA_CSUM,
    );
}

/// Names the journal, and keeps a copy of where it is in case its inode breaks.
fn put_journal(out: &mut [u8], totals: &Totals) {
    const BACKUP: usize = 0x10c;
    let (body, bytes) = &totals.journal;
    put_u32(out, 0xe0, JOURNAL_INO);
    out[0xfd] = 1;
    out[BACKUP..BACKUP + BODY_BYTES].copy_from_slice(body);
    put_split_u64(out, BACKUP + BODY_BYTES + 4, BACKUP + BODY_BYTES, *bytes);
}
