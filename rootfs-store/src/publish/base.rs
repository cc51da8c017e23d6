//! The image that a snapshot is put upon.

use super::{PublishError, PublishOptions};
use crate::digest::SnapshotDigest;
use crate::image::{self, Image, Platform, Scratch, open_in_registry};
use crate::import::ImportOptions;
use crate::leases::Lease;
use crate::manifest::Snapshot;
use crate::progress::Progress;
use crate::reference::ImageReference;
use crate::store::Store;

/// An image in a layout, and as a snapshot.
pub(super) struct BaseImage {
    pub(super) image: Image,
    pub(super) config: serde_json::Value,
    pub(super) snapshot: SnapshotDigest,
    /// Keeps the snapshot.
    _lease: Option<Lease>,
}

impl Store {
    /// The image that a snapshot came from, if the options name it.
    pub(super) fn base_for(
        &self,
        snapshot: &Snapshot,
        options: &PublishOptions,
        progress: &dyn Progress,
    ) -> Result<Option<BaseImage>, PublishError> {
        let base = options.base.as_ref();
        let base = base.map(|reference| self.base(reference, snapshot, options, progress));
        base.transpose()
    }

    /// Opens the image that a snapshot came from, and finds it as a snapshot or imports it.
    fn base(
        &self,
        reference: &ImageReference,
        snapshot: &Snapshot,
        options: &PublishOptions,
        progress: &dyn Progress,
    ) -> Result<BaseImage, PublishError> {
        let platform = options.platform(snapshot);
        let image = self.open_base(reference, &platform, options, progress)?;
        if let Some(came_from) = &snapshot.image
            && *came_from != image.manifest_digest
        {
            return Err(PublishError::OtherBase {
                snapshot: snapshot.digest,
                image: came_from.clone(),
                reference: reference.to_string(),
                found: image.manifest_digest,
            });
        }
        // It was parsed when the image was opened.
        let config = serde_json::from_slice(&image.raw_config).unwrap_or_default();
        let (lease, snapshot) = match self.imported_ancestor(snapshot, &image.manifest_digest) {
            Some(found) => found,
            None => self.import_base(reference, snapshot, options, progress)?,
        };
        Ok(BaseImage {
            image,
            config,
            snapshot,
            _lease: lease,
        })
    }

    fn open_base(
        &self,
        reference: &ImageReference,
        platform: &Platform,
        options: &PublishOptions,
        progress: &dyn Progress,
    ) -> Result<Image, PublishError> {
        let opened = match reference {
            ImageReference::Oci { .. } => {
                let scratch = Scratch {
                    dir: self.blobs().staging(),
                    limit_bytes: options.limits.unpacked_bytes,
                    progress,
                };
                image::open(reference, platform, &scratch)
            }
            ImageReference::Docker { reference } => {
                let (blobs, root) = (self.blobs(), self.dir());
                open_in_registry(self.registries(), reference, platform, blobs, root)
            }
            ImageReference::DockerArchive { .. } => {
                return Err(PublishError::BaseTransport {
                    reference: reference.to_string(),
                });
            }
        };
        opened.map_err(|source| PublishError::Image {
            reference: reference.to_string(),
            source,
        })
    }

    /// The snapshot that an image became first, if all that were made between it and this one are still there: commits
    /// and the like keep the image's name, and only an import of it has no parent, or one of another image.
    fn imported_ancestor(
        &self,
        snapshot: &Snapshot,
        image: &str,
    ) -> Option<(Option<Lease>, SnapshotDigest)> {
        let is_of_image = |snapshot: &Snapshot| snapshot.image.as_deref() == Some(image);
        let (mut lease, mut found) = (None, snapshot.clone());
        if !is_of_image(&found) {
            return None;
        }
        // Digests can't go in circles.
        while let Some(parent) = found.parent {
            let (parent_lease, parent) = self.to_read(&parent).ok()?;
            if !is_of_image(&parent) {
                break;
            }
            (lease, found) = (parent_lease, parent);
        }
        Some((lease, found.digest))
    }

    fn import_base(
        &self,
        reference: &ImageReference,
        snapshot: &Snapshot,
        options: &PublishOptions,
        progress: &dyn Progress,
    ) -> Result<(Option<Lease>, SnapshotDigest), PublishError> {
        let options = ImportOptions {
            platform: options.platform(snapshot),
            // So that chunks can be compared by digest.
            chunk_bytes: snapshot.chunk_bytes,
            limits: options.limits.clone(),
            ..ImportOptions::default()
        };
        let imported = self.import(reference, &options, progress);
        let imported = imported.map_err(|source| PublishError::ImportBase {
            reference: reference.to_string(),
            source: Box::new(source),
        })?;
        Ok((Some(imported.lease), imported.snapshot))
    }
}
