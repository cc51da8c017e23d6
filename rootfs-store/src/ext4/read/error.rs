//! Why files can't be read from a disk.

use crate::store::StoreError;

/// Why files can't be read from a disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The disk holds something else, or nothing.
    #[error("there is no ext4 file system on the disk")]
    NoFileSystem,
    /// The file system has a feature that isn't known here.
    #[error("the file system uses {feature}, which can't be read here")]
    Unsupported {
        /// What it uses.
        feature: &'static str,
    },
    /// The superblock contradicts itself or the disk.
    #[error("the superblock is damaged: its {what} is wrong; e2fsck may repair the file system")]
    Superblock {
        /// Which part of it.
        what: &'static str,
    },
    /// A group descriptor contradicts itself or the disk.
    #[error(
        "the descriptor of block group {group} is damaged: its {what} is wrong; e2fsck may repair the file system"
    )]
    Group {
        /// Number of the group.
        group: u32,
        /// Which part of it.
        what: &'static str,
    },
    /// An inode contradicts itself or the disk.
    #[error("inode {ino} is damaged: its {what} is wrong; e2fsck may repair the file system")]
    Inode {
        /// Number of the inode.
        ino: u32,
        /// Which part of it.
        what: &'static str,
    },
    /// A block of metadata contradicts itself or the disk.
    #[error(
        "block {block} of inode {ino} is damaged: its {what} is wrong; e2fsck may repair the file system"
    )]
    Block {
        /// Number of the inode that it belongs to.
        ino: u32,
        /// Number of the block on the disk.
        block: u64,
        /// Which part of it.
        what: &'static str,
    },
    /// An inode is of a kind that isn't known here.
    #[error("inode {ino} has {what}, which can't be read here")]
    UnsupportedInode {
        /// Number of the inode.
        ino: u32,
        /// What it has.
        what: &'static str,
    },
    /// The journal can't be replayed.
    #[error(
        "block {block} of the journal is damaged: its {what} is wrong; e2fsck may repair the file system"
    )]
    Journal {
        /// Number of the block in the journal.
        block: u64,
        /// Which part of it.
        what: &'static str,
    },
    /// Something leads past the end of the file system.
    #[error("{len} bytes at {offset} are not on the file system")]
    OutOfRange {
        /// The first byte.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
    /// There is more than a caller wants to hold.
    #[error("the file system has more than {limit} {what}")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The disk could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}
