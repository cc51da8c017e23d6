//! A writer of ext4 that writes nothing: it plans a disk, then answers reads of it.
//!
//! The file system has 4 KiB blocks, 256-byte inodes, extents, checksums of all metadata, indexed directories, an
//! empty journal, and room to grow while it is mounted. Nothing in it depends on the clock, on chance or on the
//! host: same tree, same size, same bytes.
//!
//! What it has not, on purpose: encryption, case folding, quotas, inline data, shared attribute blocks, and a choice
//! of block size.
//!
//! Also a reader of what guests made of such disks: [`FileSystem`].

mod acl;
mod allocator;
mod checksum;
mod directory;
mod dirhash;
mod error;
mod extent;
mod format;
mod geometry;
mod groups;
mod htree;
mod inode;
mod journal;
mod layout;
mod metadata;
mod names;
mod placement;
mod read;
mod render;
mod resize;
mod superblock;
mod survey;
mod xattr;

pub use error::LayoutError;
pub use layout::Layout;
pub(crate) use placement::min_aligned_bytes;
pub use read::{Content, File, FileId, FileKind, FileSystem, FileTree, ReadAt, ReadError};
pub(crate) use superblock::LABEL_BYTES;
