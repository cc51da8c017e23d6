//! From a snapshot's files to an ordinary container image: one more layer on the image that the snapshot came from, or
//! one layer with everything.
//!
//! Invariant: the same snapshots give the same bytes. Nothing in a layer or a document depends on the clock, on the
//! host, or on how the store keeps the disks.

mod base;
mod below;
mod blob;
mod changes;
mod content;
mod documents;
mod error;
mod layer;
mod layout;
mod links;
mod pairs;
mod registry;
mod snapshot_disk;
mod tar;
mod time;

use std::io::Write;
use std::path::Path;

use crate::digest::{BlobDigest, SnapshotDigest};
use crate::ext4::ReadAt;
use crate::image::{Compression, Layer, Platform};
use crate::manifest::Snapshot;
use crate::progress::Progress;
use crate::reference::ImageReference;
use crate::store::Store;
use crate::tree::Limits;
use base::BaseImage;
use below::Below;
use blob::LayerBlob;
use changes::{Side, Sources};
use documents::{Base, Documents, NewLayer};
use error::Fault;
pub use error::PublishError;
pub use layer::LayerSummary;
use layout::{LayoutDir, Written};
use pairs::Excluded;
use snapshot_disk::SnapshotDisk;

/// How a snapshot becomes an image.
#[derive(Debug, Clone)]
pub struct PublishOptions {
    /// The image that the snapshot came from, in an OCI layout or a registry. What differs from it becomes one more
    /// layer; without it, everything becomes one layer.
    pub base: Option<ImageReference>,
    /// The machine that the image is for: which of a base's images is taken, and what an image without a base says. By
    /// default it is Linux on the architecture that the snapshot is for.
    pub platform: Option<Platform>,
    /// How the new layer is compressed; gzip by default, which everything can read.
    pub compression: Compression,
    /// Paths that stay as they are in the base, or are left out where there is none, with all below them.
    pub exclude: Vec<String>,
    /// What the files may cost: bytes in the layer, and what is held in memory of each of the two trees.
    pub limits: Limits,
}

impl Default for PublishOptions {
    fn default() -> Self {
        Self {
            base: None,
            platform: None,
            compression: Compression::Gzip,
            exclude: Vec::new(),
            limits: Limits::default(),
        }
    }
}

impl PublishOptions {
    fn platform(&self, snapshot: &Snapshot) -> Platform {
        let own = || Platform {
            architecture: snapshot.machine.architecture().to_owned(),
            ..Platform::default()
        };
        self.platform.clone().unwrap_or_else(own)
    }
}

/// An image that was made of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishedImage {
    /// Digest of the image's manifest.
    pub manifest: BlobDigest,
    /// Digest of the image's config, which Docker calls the image's ID.
    pub config: BlobDigest,
    /// The new layer; nothing if no file differs from the base.
    pub layer: Option<PublishedLayer>,
    /// Layers of the image, the base's among them.
    pub layers: usize,
}

/// The layer that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishedLayer {
    /// Digest of the blob.
    pub digest: BlobDigest,
    /// Size of the blob in bytes.
    pub bytes: u64,
    /// Digest of the plain tar stream.
    pub diff_id: BlobDigest,
    /// What is in it.
    pub summary: LayerSummary,
}

/// An image whose new layer and documents are in a layout.
struct Made {
    published: PublishedImage,
    config: Written,
    manifest: Written,
    manifest_bytes: Vec<u8>,
    /// The layers below the new one, lowest first.
    below: Vec<Layer>,
}

impl Store {
    /// Writes the tar stream of what differs between the files of two snapshots, or of all files, to `out`.
    ///
    /// Sockets, and a `lost+found` that is empty, are left out.
    ///
    /// # Errors
    /// Any [`PublishError`]; `out` may have got a part of the stream.
    pub(crate) fn layer(
        &self,
        base: Option<&SnapshotDigest>,
        snapshot: &SnapshotDigest,
        options: &PublishOptions,
        out: impl Write,
        progress: &dyn Progress,
    ) -> Result<LayerSummary, PublishError> {
        let (_lease, found) = self.to_read(snapshot)?;
        let limits = &options.limits;
        let new = self.side(&found, limits)?;
        let (mut below, mut differing, mut _base_lease) = (None, None, None);
        if let Some(digest) = base {
            let (lease, found) = self.to_read(digest)?;
            below = Some(self.side(&found, limits)?);
            differing = content::differing(self, digest, snapshot)?;
            _base_lease = lease;
        }
        let sources = Sources::new(&new, below.as_ref(), differing);
        let excluded = Excluded::new(&options.exclude);
        layer::write(&sources, &excluded, limits, out, progress)
            .map_err(|fault| fault.of_snapshots(snapshot, base))
    }

    /// Adds an image of a snapshot's files to the OCI layout in `dir`, called `tag`; another one may have had the tag
    /// before. The layout is made if there is none; what else is in it stays.
    ///
    /// What is to be run in it is what the snapshot says; all other properties come from the base. Layers of the base that
    /// the layout lacks are copied there, or fetched if they are in a registry, and verified; `progress` is told in
    /// [`Stage::Fetch`](crate::Stage::Fetch). Nothing else may write to the layout meanwhile.
    ///
    /// # Errors
    /// Any [`PublishError`]; the layout then has what it had before, and perhaps blobs that nothing names.
    pub fn publish_to_layout(
        &self,
        snapshot: &SnapshotDigest,
        dir: &Path,
        tag: &str,
        options: &PublishOptions,
        progress: &dyn Progress,
    ) -> Result<PublishedImage, PublishError> {
        layout::check_tag(tag)?;
        let (_lease, found) = self.to_read(snapshot)?;
        let base = self.base_for(&found, options, progress)?;
        // What can be wrong with these leaves no folder.
        let layout = LayoutDir::open(dir, self.dir())?;
        let made = self.make_image(&found, base, &layout, options, progress)?;
        let below = Below {
            registries: self.registries(),
            base: options.base.as_ref(),
            layout: &layout,
            progress,
        };
        below.copy(&made.below)?;
        layout.tag(tag, &made.manifest)?;
        Ok(made.published)
    }

    /// Writes the new layer and the documents of an image to a layout; what is below the layer is not copied there.
    fn make_image(
        &self,
        found: &Snapshot,
        base: Option<BaseImage>,
        layout: &LayoutDir,
        options: &PublishOptions,
        progress: &dyn Progress,
    ) -> Result<Made, PublishError> {
        let snapshot = &found.digest;
        let layer = self.layer_blob(base.as_ref(), snapshot, layout, options, progress)?;
        let documents = Documents {
            base: base.as_ref().map(|base| Base {
                image: &base.image,
                config: &base.config,
            }),
            layer: layer.as_ref().map(|layer| NewLayer {
                layer,
                compression: options.compression,
                snapshot,
            }),
            // Only an image says what is to be run.
            machine: found.image.is_some().then_some(&found.machine),
            platform: options.platform(found),
        };
        let config = layout.put(&documents.config()?)?;
        let manifest_bytes = documents.manifest(&config)?;
        let manifest = layout.put(&manifest_bytes)?;
        let published = PublishedImage {
            manifest: manifest.digest,
            config: config.digest,
            layers: documents.layers().len(),
            layer,
        };
        Ok(Made {
            published,
            config,
            manifest,
            manifest_bytes,
            below: base.map_or_else(Vec::new, |base| base.image.layers),
        })
    }

    /// Writes the new layer to the layout; nothing if nothing differs from the base.
    fn layer_blob(
        &self,
        base: Option<&BaseImage>,
        snapshot: &SnapshotDigest,
        layout: &LayoutDir,
        options: &PublishOptions,
        progress: &dyn Progress,
    ) -> Result<Option<PublishedLayer>, PublishError> {
        let mut blob = LayerBlob::create(layout.stage()?, options.compression)?;
        let below = base.map(|base| &base.snapshot);
        let summary = self.layer(below, snapshot, options, &mut blob, progress)?;
        let written = blob.finish()?;
        if summary.entries == 0 && base.is_some() {
            return Ok(None);
        }
        layout.keep(written.file, &written.digest)?;
        Ok(Some(PublishedLayer {
            digest: written.digest,
            bytes: written.bytes,
            diff_id: written.diff_id,
            summary,
        }))
    }

    fn side(
        &self,
        snapshot: &Snapshot,
        limits: &Limits,
    ) -> Result<Side<SnapshotDisk<'_>>, PublishError> {
        let disk = SnapshotDisk::new(&self.inner.source, snapshot);
        Side::read(disk, limits).map_err(|source| PublishError::Files {
            snapshot: snapshot.digest,
            source: Box::new(source),
        })
    }
}

/// Writes the tar stream of all files of a file system, as the layer of an image has them.
///
/// # Errors
/// Any [`PublishError`] about the disk, a file or `out`, which may have got a part of the stream.
pub fn write_plain_layer<R: ReadAt>(
    disk: R,
    limits: &Limits,
    out: impl Write,
) -> Result<LayerSummary, PublishError> {
    let disk_error = |source| PublishError::Disk {
        source: Box::new(source),
    };
    let side = Side::read(disk, limits).map_err(disk_error)?;
    let sources = Sources::new(&side, None, None);
    layer::write(&sources, &Excluded::new(&[]), limits, out, &()).map_err(|fault| match fault {
        Fault::New(source) | Fault::Base(source) => disk_error(source),
        Fault::Other(error) => error,
    })
}
