//! Inodes and directories of the tree.
//!
//! Invariant: every directory but the root is named by exactly one directory entry, so the tree has no cycles.

use std::collections::BTreeMap;

/// Index of an inode in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeId(pub(crate) u32);

impl InodeId {
    /// The root directory.
    pub const ROOT: Self = Self(0);

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A point in time relative to 1970, before it if `seconds` is negative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// Nanoseconds after that, below 10⁹.
    pub nanos: u32,
}

/// Extended attributes by full name (`user.note`).
pub type Xattrs = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// What every kind of file has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Permission, setuid, setgid and sticky bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change.
    pub mtime: Time,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

impl Attributes {
    /// Those of a directory that no layer describes.
    pub(crate) fn implied_directory() -> Self {
        Self {
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            xattrs: Xattrs::new(),
        }
    }
}

/// A file of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// Owner, mode and so on.
    pub attributes: Attributes,
    /// Its kind and what is particular to it.
    pub kind: Kind,
}

/// The kinds of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory(Directory),
    /// A regular file.
    File(Content),
    /// A symbolic link and its target.
    Symlink(Box<[u8]>),
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
}

/// The number of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Major number, at most 12 bits.
    pub major: u32,
    /// Minor number, at most 20 bits.
    pub minor: u32,
}

/// A directory's entries, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    pub(crate) entries: BTreeMap<Box<[u8]>, DirEntry>,
    /// Distance from the root; no entry ever moves, so it never changes.
    pub(crate) depth: u16,
    /// The last layer whose whiteouts have removed all that is older.
    pub(crate) pruned_in: u32,
}

impl Directory {
    /// Names and inodes in the order of the names' bytes.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], InodeId)> {
        self.entries
            .iter()
            .map(|(name, entry)| (&**name, entry.inode))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DirEntry {
    pub(crate) inode: InodeId,
    /// The last layer that described this name; whiteouts of that layer spare it.
    pub(crate) layer: u32,
}

/// Where the bytes of a regular file are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Length of the file in bytes.
    pub len: u64,
    /// The pieces that are not holes, in order.
    pub runs: Vec<Run>,
}

/// A piece of a file in the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Where it starts in the file: a multiple of [`BLOCK`].
    pub file_offset: u64,
    /// Its length in bytes: a multiple of [`BLOCK`] unless the file ends with it.
    pub len: u64,
    /// Where it starts in the spool. From 2^62 on, it stands for contents that an import keeps elsewhere.
    pub spool_offset: u64,
}

/// Granularity of holes, in bytes: the block size of the file systems that hold the tree.
pub const BLOCK: u64 = 4096;
