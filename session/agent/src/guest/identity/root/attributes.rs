//! What a name stands for, and what it has.

use nix::sys::stat::{FileStat, SFlag};

/// The permission bits of a mode.
const PERMISSIONS: u32 = 0o7777;

/// What a file has besides its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::guest) struct Attributes {
    pub(in crate::guest) mode: u32,
    pub(in crate::guest) uid: u32,
    pub(in crate::guest) gid: u32,
}

impl Attributes {
    /// Those of a file of root's.
    pub(in crate::guest) const fn of_root(mode: u32) -> Self {
        let (uid, gid) = (0, 0);
        Self { mode, uid, gid }
    }

    pub(super) fn of(stat: &FileStat) -> Self {
        Self {
            mode: stat.st_mode & PERMISSIONS,
            uid: stat.st_uid,
            gid: stat.st_gid,
        }
    }
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::guest) enum Kind {
    File,
    Directory,
    Link,
    Other,
}

impl Kind {
    pub(super) fn of(stat: &FileStat) -> Self {
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        match kind {
            SFlag::S_IFREG => Self::File,
            SFlag::S_IFDIR => Self::Directory,
            SFlag::S_IFLNK => Self::Link,
            _ => Self::Other,
        }
    }
}
