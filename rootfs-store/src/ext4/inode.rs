//! Inodes.

use super::checksum::{crc, inode_seed};
use super::format::{
    BLOCK, EXTRA_INODE_BYTES, INODE_BYTES, low_u16, put_split_u32, put_split_u48, put_split_u64,
    put_u16, put_u32,
};
use super::xattr::{Attribute, put_in_inode};
use crate::tree::{Device, Time};

/// Where the 60 bytes start that say where the blocks are, or hold a short link's target.
const BODY: std::ops::Range<usize> = 0x28..0x28 + BODY_BYTES;
pub(super) const BODY_BYTES: usize = 60;
const CHECKSUM_LOW: usize = 0x7c;
const CHECKSUM_HIGH: usize = 0x82;

/// The fields of an inode.
#[derive(Debug)]
pub(super) struct Fields {
    /// Type and permissions.
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) links: u16,
    /// Length in bytes.
    pub(super) size: u64,
    /// Blocks of the file, of its metadata, and of its extended attributes.
    pub(super) blocks: u64,
    pub(super) flags: u32,
    pub(super) body: [u8; BODY_BYTES],
    pub(super) xattr_block: u64,
    pub(super) times: Times,
}

/// What the fields for times hold.
#[derive(Debug)]
pub(super) enum Times {
    /// One time for all of them.
    All(Time),
    /// In an inode that holds a value of an extended attribute: the value's hash and how many files have it.
    Value { hash: u32, references: u32 },
}

impl Fields {
    /// Fills an inode of zeros.
    pub(super) fn put(&self, inode: &mut [u8], ino: u32, attributes: &[Attribute<'_>]) {
        put_u16(inode, 0x00, self.mode);
        put_split_u32(inode, 0x02, 0x78, self.uid);
        put_split_u64(inode, 0x04, 0x6c, self.size);
        put_split_u32(inode, 0x18, 0x7a, self.gid);
        put_u16(inode, 0x1a, self.links);
        put_split_u48(inode, 0x1c, 0x74, self.blocks * (BLOCK / 512));
        put_u32(inode, 0x20, self.flags);
        inode[BODY].copy_from_slice(&self.body);
        put_split_u48(inode, 0x68, 0x76, self.xattr_block);
        put_u16(inode, 0x80, EXTRA_INODE_BYTES);
        self.put_times(inode);
        put_in_inode(inode, attributes);
        let sum = crc(inode_seed(ino), &inode[..INODE_BYTES]);
        put_split_u32(inode, CHECKSUM_LOW, CHECKSUM_HIGH, sum);
    }

    fn put_times(&self, inode: &mut [u8]) {
        const ACCESS: (usize, usize) = (0x08, 0x8c);
        const CHANGE: (usize, usize) = (0x0c, 0x84);
        const MODIFICATION: (usize, usize) = (0x10, 0x88);
        const CREATION: (usize, usize) = (0x90, 0x94);
        const VERSION: usize = 0x24;
        match self.times {
            Times::All(time) => {
                let (seconds, extra) = encode_time(time);
                for (at, extra_at) in [ACCESS, CHANGE, MODIFICATION, CREATION] {
                    put_u32(inode, at, seconds);
                    put_u32(inode, extra_at, extra);
                }
            }
            // The upper half of the count takes the place of the time of change.
            Times::Value { hash, references } => {
                put_u32(inode, ACCESS.0, hash);
                put_u32(inode, VERSION, references);
            }
        }
    }
}

/// Adds the checksum to a reserved inode that is zero. Such an inode has no room for the upper half.
pub(super) fn put_unused(inode: &mut [u8], ino: u32) {
    let sum = crc(inode_seed(ino), &inode[..INODE_BYTES]);
    put_u16(inode, CHECKSUM_LOW, low_u16(sum));
}

/// Seconds as 32 bits with sign, and a word with two more bits and the nanoseconds.
///
/// Times that don't fit become the nearest that does, as in Linux.
fn encode_time(time: Time) -> (u32, u32) {
    const FIRST: i64 = i32::MIN as i64;
    const LAST: i64 = FIRST + (1 << 34) - 1;
    let seconds = time.seconds.clamp(FIRST, LAST);
    let nanos = if seconds == time.seconds {
        time.nanos
    } else {
        0
    };
    let bits = (seconds & 0xffff_ffff) as u32;
    let beyond = (seconds - i64::from(bits.cast_signed())) >> 32;
    (bits, (nanos << 2) | (beyond & 3) as u32)
}

/// How an inode says which device it is: in 16 bits if that is enough, else in 32.
pub(super) fn device_body(device: Device) -> [u8; BODY_BYTES] {
    let Device { major, minor } = device;
    let mut body = [0; BODY_BYTES];
    if major < 256 && minor < 256 {
        put_u32(&mut body, 0, major << 8 | minor);
    } else {
        put_u32(
            &mut body,
            4,
            (minor & 0xff) | major << 8 | (minor & !0xff) << 12,
        );
    }
    body
}
