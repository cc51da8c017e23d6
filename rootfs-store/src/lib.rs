//! Container images as disks, and disks as content-addressed OCI artifacts.
#![forbid(unsafe_code)]

mod blobs;
mod chunk;
mod chunk_source;
mod commit;
mod digest;
mod disk;
mod export;
pub mod ext4;
mod files;
mod grow;
pub mod image;
mod import;
mod index;
mod manifest;
mod ordered;
mod pack;
mod progress;
mod reference;
mod references;
mod seal;
mod store;
#[cfg(test)]
mod testing;
pub mod tree;

/// The formats on disk and in registries, read from bytes that nobody vouches for.
pub mod formats {
    pub use crate::disk::{MapHeader, open_sector, seal_sector};
    pub use crate::index::{Locator, PackRef, Page};
    pub use crate::manifest::{parse_config, parse_manifest};
    pub use crate::pack::{Table, TableEntry};
}

pub use chunk::{DEFAULT_CHUNK_BYTES, FrameError};
pub use commit::{CommitError, Committed};
pub use digest::{BlobDigest, ChunkDigest, DigestError, SnapshotDigest};
pub use disk::{BLOCK_BYTES, DiskError, MapError, WritableDisk};
pub use export::{ExportError, Exported};
pub use files::{Change, FileId, Watch};
pub use grow::GrowError;
pub use import::{ImportError, ImportOptions, Imported};
pub use index::PageError;
pub use manifest::{ManifestError, Pack, Snapshot};
pub use pack::PackError;
pub use progress::{Progress, Stage};
pub use reference::{ImageReference, ReferenceError};
pub use references::NamedSnapshot;
pub use store::{Store, StoreError};
