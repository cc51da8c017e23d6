//! What can be wrong with a writable disk.

use std::io;
use std::path::PathBuf;

use super::map::MapError;
use crate::store::StoreError;

/// Why a disk could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// Another process, or another handle of this one, has the disk open.
    #[error("disk `{id}` is in use: stop the session that uses it first")]
    InUse {
        /// The disk.
        id: String,
    },
    /// There is no such disk.
    #[error("there is no disk `{id}`")]
    NotFound {
        /// The disk.
        id: String,
    },
    /// There is a disk of that name already.
    #[error("disk `{id}` exists already")]
    Exists {
        /// The disk.
        id: String,
    },
    /// A disk's name breaks the rules of names.
    #[error(
        "`{id}` can't be a disk's name: use up to 80 letters, digits, `.`, `_`, `-` and `@`, beginning with a letter or digit"
    )]
    BadId {
        /// The name.
        id: String,
    },
    /// The range is not on the disk.
    #[error("bytes {start}..{end} pass the end of a disk of {size} bytes")]
    OutOfRange {
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// Size of the disk in bytes.
        size: u64,
    },
    /// The operating system refused.
    #[error("could not {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// An earlier flush failed.
    #[error("an earlier flush of {dir} failed: what was written since the one before may be lost")]
    FlushFailed {
        /// The disk's folder.
        dir: PathBuf,
    },
    /// The file that says which blocks were written can't be used.
    #[error("{path} can't be read")]
    Map {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: MapError,
    },
    /// The folder lacks an overlay that others lie over, or has none at all.
    #[error(
        "{dir} lacks the map of an overlay: restore the folder from a copy, or remove the disk"
    )]
    NoOverlay {
        /// The disk's folder.
        dir: PathBuf,
    },
    /// The file of written blocks was cut off or replaced.
    #[error(
        "{path} has {found} bytes, but its disk needs {expected}: restore the disk's folder from a copy, or remove the disk"
    )]
    OverlayLength {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        found: u64,
        /// The length that it must have.
        expected: u64,
    },
    /// The disk says that it has another size than its base.
    #[error("disk `{id}` has {disk_bytes} bytes, but its base has {base_bytes}")]
    SizeMismatch {
        /// The disk.
        id: String,
        /// Its size in bytes.
        disk_bytes: u64,
        /// Size of its base in bytes.
        base_bytes: u64,
    },
    /// Whoever reads did not take the bytes, or whoever writes did not give them.
    #[error("the buffer of a read or write of the disk failed")]
    Target {
        /// Its answer.
        source: io::Error,
    },
    /// The base could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}
