//! From a container image to a snapshot.

use std::path::PathBuf;

use crate::chunk::{DEFAULT_CHUNK_BYTES, MAX_CHUNK_BYTES, MIN_CHUNK_BYTES};
use crate::digest::SnapshotDigest;
use crate::ext4::{Layout, LayoutError};
use crate::image::{self, Image, ImageError, Platform, Scratch};
use crate::index::Index;
use crate::leases::Lease;
use crate::manifest::{MAX_DISK_BYTES, NewSnapshot};
use crate::pack::PACK_BYTES;
use crate::progress::Progress;
use crate::reference::ImageReference;
use crate::seal::{Dirty, seal};
use crate::store::{Store, StoreError};
use crate::tree::{self, Limits, TreeError};

/// Size of a disk whose size nobody asked for, in bytes, unless its image needs more.
const DEFAULT_DISK_BYTES: u64 = 8 << 30;
/// A disk whose size nobody asked for is at least this many times as large as what it must hold.
const DEFAULT_ROOM: u64 = 2;
/// Disk sizes are rounded up to a multiple of this, the largest chunk.
const DISK_GRAIN: u64 = crate::chunk::MAX_CHUNK_BYTES as u64;
/// Changes when the same image would become another disk: imports of older versions are then not taken for new ones.
const LAYOUT_VERSION: u32 = 1;

/// What an import takes besides the image.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The machine that the image must be for; `linux/amd64` by default.
    pub platform: Platform,
    /// Size of the disk in bytes, rounded up to a multiple of 1 MiB; by default 8 GiB, or twice what the image needs
    /// if that is more. Space that holds nothing takes none.
    pub disk_bytes: Option<u64>,
    /// Size of the disk's chunks in bytes: a power of two from 16 KiB to 1 MiB; [`DEFAULT_CHUNK_BYTES`] by default.
    pub chunk_bytes: u32,
    /// What the image may cost.
    pub limits: Limits,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            platform: Platform::default(),
            disk_bytes: None,
            chunk_bytes: DEFAULT_CHUNK_BYTES,
            limits: Limits::default(),
        }
    }
}

/// What an import made.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The image as a disk.
    pub snapshot: SnapshotDigest,
    /// Size of the disk in bytes.
    pub disk_bytes: u64,
    /// Chunks in packs that the store did not have.
    pub new_chunks: u64,
    /// Plain bytes of these.
    pub new_bytes: u64,
    /// Bytes that the store grew by.
    pub stored_bytes: u64,
    /// Keeps the snapshot, until it has a name for instance.
    pub lease: Lease,
}

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
    /// The unpacked files could not be read back.
    #[error("could not read the unpacked files in {path}")]
    Spool {
        /// The folder of the temporary file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Makes a disk of an image. The same image gives the same snapshot in every store.
    ///
    /// An image that was imported before, with the same options, is found and not imported again. What it returns is
    /// durable, but has no name yet: see [`Store::set_name`]. [`Imported::lease`] keeps it until then; without either,
    /// [`Store::gc`] takes it for unused once it is older than the grace period.
    ///
    /// # Errors
    /// [`ImportError`]; nothing is left behind but, after a crash, what the next [`Store::open`] removes.
    pub fn import(
        &self,
        reference: &ImageReference,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Imported, ImportError> {
        let size = options.disk_bytes.map(checked_size).transpose()?;
        let chunk_bytes = options.chunk_bytes;
        if !chunk_bytes.is_power_of_two()
            || !(MIN_CHUNK_BYTES..=MAX_CHUNK_BYTES).contains(&chunk_bytes)
        {
            return Err(ImportError::ChunkSize { chunk_bytes });
        }
        let image_error = |source| ImportError::Image {
            reference: reference.to_string(),
            source,
        };
        let scratch = Scratch {
            dir: self.blobs().staging(),
            limit_bytes: options.limits.unpacked_bytes,
        };
        let image = image::open(reference, &options.platform, &scratch).map_err(image_error)?;
        let key = import_key(&image, size, chunk_bytes);
        let lease = self.lease()?;
        if let Some(snapshot) = self.inner.references.imported(&key)?
            && let Ok(found) = self.keep_under(&lease, &snapshot)
            && found.image.as_ref() == Some(&image.manifest_digest)
            && size.is_none_or(|size| size == found.disk_bytes)
        {
            self.blobs().touch(&snapshot.into());
            let disk_bytes = found.disk_bytes;
            return Ok(Imported {
                snapshot,
                disk_bytes,
                new_chunks: 0,
                new_bytes: 0,
                stored_bytes: 0,
                lease,
            });
        }
        let imported = self.import_new(reference, image, size, options, &lease, progress)?;
        let manifest_bytes = self.manifest_bytes(&imported.snapshot)?;
        self.inner
            .references
            .set_imported(&key, imported.snapshot, manifest_bytes)?;
        Ok(imported)
    }

    fn import_new(
        &self,
        reference: &ImageReference,
        image: Image,
        size: Option<u64>,
        options: &ImportOptions,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<Imported, ImportError> {
        let layout = self.lay_out(reference, &image, size, options, progress)?;
        let chunk_len = u64::from(options.chunk_bytes);
        let numbers = occupied_chunks(&layout, chunk_len);
        let staging = self.blobs().staging();
        let read = |chunk: u64, buffer: &mut [u8]| {
            let read = layout.read_at(buffer, chunk * chunk_len);
            read.map_err(|source| ImportError::Spool {
                path: staging.to_owned(),
                source,
            })
        };
        let dirty = Dirty {
            count: numbers.len() as u64,
            numbers: numbers.into_iter().map(Ok),
            pack_bytes: PACK_BYTES,
            chunk_bytes: options.chunk_bytes,
            read: &read,
        };
        let disk_bytes = layout.disk_bytes();
        let empty = Index {
            root: None,
            chunks: disk_bytes / chunk_len,
        };
        let sealed = seal(&self.inner.source, &empty, dirty, lease, progress)?;
        let snapshot = NewSnapshot {
            disk_bytes,
            chunk_bytes: options.chunk_bytes,
            image: Some(image.manifest_digest),
            parent: None,
            machine: image.config,
            packs: sealed.packs,
            root: sealed.root,
        };
        let (snapshot, grown) = snapshot.write(self.blobs(), lease)?;
        Ok(Imported {
            snapshot,
            disk_bytes,
            new_chunks: sealed.new_chunks,
            new_bytes: sealed.new_bytes,
            stored_bytes: sealed.stored_bytes + grown,
            lease: lease.clone(),
        })
    }

    fn lay_out(
        &self,
        reference: &ImageReference,
        image: &Image,
        size: Option<u64>,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Layout, ImportError> {
        let tree = tree::build(image, self.blobs().staging(), &options.limits, progress).map_err(
            |source| ImportError::Tree {
                reference: reference.to_string(),
                source,
            },
        )?;
        let layout_error = |source| ImportError::Layout {
            reference: reference.to_string(),
            source,
        };
        let size = match size {
            Some(size) => size,
            None => {
                let needed =
                    Layout::minimum_bytes(&tree, options.chunk_bytes).map_err(layout_error)?;
                checked_size(needed.saturating_mul(DEFAULT_ROOM).max(DEFAULT_DISK_BYTES))?
            }
        };
        Layout::plan(tree, size, options.chunk_bytes).map_err(layout_error)
    }
}

/// The size that a disk of at least this many bytes has; nothing if there can't be one.
pub(crate) fn round_up(disk_bytes: u64) -> Option<u64> {
    let rounded = disk_bytes.checked_next_multiple_of(DISK_GRAIN)?;
    (disk_bytes > 0 && rounded <= MAX_DISK_BYTES).then_some(rounded)
}

fn checked_size(disk_bytes: u64) -> Result<u64, ImportError> {
    round_up(disk_bytes).ok_or(ImportError::DiskSize { disk_bytes })
}

/// Everything that the snapshot follows from.
fn import_key(image: &Image, size: Option<u64>, chunk_bytes: u32) -> String {
    let size = size.map_or("auto".to_owned(), |size| size.to_string());
    format!(
        "{} size={size} chunk={chunk_bytes} layout={LAYOUT_VERSION}",
        image.manifest_digest
    )
}

/// Numbers of the chunks that may hold something, ascending.
fn occupied_chunks(layout: &Layout, chunk_len: u64) -> Vec<u64> {
    let mut numbers: Vec<u64> = Vec::new();
    for range in layout.occupied() {
        let first = (range.start / chunk_len).max(numbers.last().map_or(0, |last| last + 1));
        numbers.extend(first..range.end.div_ceil(chunk_len));
    }
    numbers
}
