//! What can be wrong with an import.

use std::path::PathBuf;

use crate::chunk::{MAX_CHUNK_BYTES, MIN_CHUNK_BYTES};
use crate::digest::{BlobDigest, SnapshotDigest};
use crate::ext4::LayoutError;
use crate::image::ImageError;
use crate::manifest::MAX_DISK_BYTES;
use crate::store::StoreError;
use crate::tree::TreeError;

/// Why an image could not be imported; no snapshot is visible.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The image could not be opened.
    #[error("could not open image {reference}")]
    Image {
        /// The image.
        reference: String,
        /// What is wrong.
        source: ImageError,
    },
    /// The image's layers could not be applied.
    #[error("could not unpack image {reference}")]
    Tree {
        /// The image.
        reference: String,
        /// What is wrong.
        source: TreeError,
    },
    /// The image's files could not be put on a disk of that size.
    #[error("could not put the files of image {reference} on a disk")]
    Layout {
        /// The image.
        reference: String,
        /// What is wrong.
        source: LayoutError,
    },
    /// A size that no disk can have was asked for.
    #[error("a disk can't have {disk_bytes} bytes: ask for 1 to {MAX_DISK_BYTES}")]
    DiskSize {
        /// The size in bytes.
        disk_bytes: u64,
    },
    /// A size that no chunk can have was asked for.
    #[error(
        "chunks can't have {chunk_bytes} bytes: ask for a power of two from {MIN_CHUNK_BYTES} to {MAX_CHUNK_BYTES}"
    )]
    ChunkSize {
        /// The size in bytes.
        chunk_bytes: u32,
    },
    /// The parent's chunks have another size, so that none can be the same.
    #[error(
        "snapshot {parent} has chunks of {found} bytes, so it can't be the parent of one with {chunk_bytes}"
    )]
    ParentChunkSize {
        /// The parent.
        parent: SnapshotDigest,
        /// The size of its chunks in bytes.
        found: u32,
        /// The size that was asked for.
        chunk_bytes: u32,
    },
    /// A pack of the parent that the snapshot would need is damaged.
    #[error(
        "pack {pack} of the parent {parent} is damaged: repair it, import the parent's image with the option `again`, or do without a parent"
    )]
    ParentDamaged {
        /// The parent.
        parent: SnapshotDigest,
        /// The pack.
        pack: BlobDigest,
    },
    /// The unpacked files could not be read back.
    #[error("could not read the unpacked files in {path}")]
    Spool {
        /// The folder of the temporary file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The host gave no thread.
    #[error("could not start a thread: allow this process more")]
    Thread {
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
