//! Images of snapshots, straight to a registry.
//!
//! Invariant: a manifest is sent only after the registry said of each blob that it has it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::layout::LayoutDir;
use super::{PublishError, PublishOptions, PublishedImage};
use crate::blobs::open_blob;
use crate::digest::{BlobDigest, SnapshotDigest};
use crate::image::{BlobPlace, Layer};
use crate::progress::Progress;
use crate::push::Sending;
use crate::reference::ImageReference;
use crate::registry::{OCI_MANIFEST, RegistryError, RegistryReference};
use crate::store::Store;

impl Store {
    /// The image that a snapshot came from, if it was imported from a registry.
    ///
    /// # Errors
    /// [`PublishError::NoBase`], or as [`Store::snapshot`].
    pub fn base_of(&self, snapshot: &SnapshotDigest) -> Result<ImageReference, PublishError> {
        let found = self.snapshot(snapshot)?;
        let place = found.image.and_then(|image| self.image_place(&image));
        place.ok_or(PublishError::NoBase {
            snapshot: *snapshot,
        })
    }

    /// Publishes a snapshot's files as an image in a registry, as [`Store::publish_to_layout`] does in a folder. Layers of
    /// the base that the registry has, or can take from another of its repositories, are not sent.
    ///
    /// # Errors
    /// Any [`PublishError`]; the registry may have some more blobs than before, but no manifest that lacks one.
    pub fn publish(
        &self,
        snapshot: &SnapshotDigest,
        to: &RegistryReference,
        options: &PublishOptions,
        progress: &dyn Progress,
    ) -> Result<PublishedImage, PublishError> {
        if to.digest().is_some() {
            return Err(PublishError::NamedByDigest {
                reference: to.to_string(),
            });
        }
        let (_lease, found) = self.to_read(snapshot)?;
        let base = self.base_for(&found, options, progress)?;
        let dir = self.blobs().staged_dir()?;
        // Whoever clears away what crashes left passes over what is locked.
        let _held = lock(dir.path())?;
        let layout = LayoutDir::open(dir.path(), self.dir())?;
        let made = self.make_image(&found, base, &layout, options, progress)?;
        let layers = made.below.iter().map(|layer| layer.size);
        let new = made.published.layer.iter().map(|layer| layer.bytes);
        let total = layers.chain(new).sum::<u64>() + made.config.bytes;
        let repository = self.registries().repository(to.host(), to.repository());
        let target = Target {
            store: self,
            to,
            sending: Sending::new(repository, total, progress),
        };
        for layer in &made.below {
            target.layer(layer, options.base.as_ref())?;
        }
        if let Some(layer) = &made.published.layer {
            target.file(&layer.digest, layer.bytes, &layout.path(&layer.digest))?;
        }
        let config = &made.config;
        target.file(&config.digest, config.bytes, &layout.path(&config.digest))?;
        target
            .sending
            .repository
            .put_manifest(&to.manifest(), OCI_MANIFEST, &made.manifest_bytes)
            .map_err(|source| target.failed(source))?;
        Ok(made.published)
    }
}

fn lock(dir: &Path) -> Result<File, PublishError> {
    let locked = File::open(dir).and_then(|dir| {
        dir.try_lock()?;
        Ok(dir)
    });
    locked.map_err(|source| PublishError::Io {
        action: "lock",
        path: dir.to_owned(),
        source,
    })
}

/// Where an image goes.
struct Target<'a> {
    store: &'a Store,
    to: &'a RegistryReference,
    sending: Sending<'a>,
}

impl Target<'_> {
    /// Makes sure that the registry has a layer of the base.
    fn layer(&self, layer: &Layer, base: Option<&ImageReference>) -> Result<(), PublishError> {
        let name = layer.name();
        let not_copied = || PublishError::BaseTransport {
            reference: name.to_owned(),
        };
        let digest: BlobDigest = name.parse().map_err(|_| not_copied())?;
        match (&layer.place, base) {
            (BlobPlace::File(path), _) => self.file(&digest, layer.size, path),
            (BlobPlace::Download(_), Some(ImageReference::Docker { reference })) => {
                self.layer_of(reference, &digest, layer.size)
            }
            _ => Err(not_copied()),
        }
    }

    /// Makes sure that the registry has a layer of an image in this or another registry.
    fn layer_of(
        &self,
        base: &RegistryReference,
        digest: &BlobDigest,
        bytes: u64,
    ) -> Result<(), PublishError> {
        let failed = |source| self.failed(source);
        if self.sending.has(digest, bytes).map_err(failed)? {
            return Ok(());
        }
        if base.host() == self.to.host() {
            let mounted = self.sending.mount(digest, bytes, base.repository());
            if mounted.map_err(failed)? {
                return Ok(());
            }
        }
        let from = self
            .store
            .registries()
            .repository(base.host(), base.repository());
        let mut blob = self.store.blobs().create()?;
        let mut sink = |piece: &[u8]| Ok(blob.write(piece)?);
        from.read_whole_blob(digest, bytes, &mut sink, |source| PublishError::BaseLayer {
            reference: base.to_string(),
            digest: *digest,
            source: Box::new(source),
        })?;
        let blob = blob.finish()?;
        if blob.digest != *digest {
            return Err(PublishError::LayerDamaged {
                digest: digest.to_string(),
                actual: blob.digest.to_string(),
            });
        }
        let read_at = |offset, buf: &mut [u8]| blob.read_at(buf, offset).map_err(io::Error::other);
        self.sending.send(digest, bytes, &read_at).map_err(failed)
    }

    /// Makes sure that the registry has the blob in a file.
    fn file(&self, digest: &BlobDigest, bytes: u64, path: &Path) -> Result<(), PublishError> {
        let failed = |source| self.failed(source);
        if self.sending.has(digest, bytes).map_err(failed)? {
            return Ok(());
        }
        let opened = open_blob(path);
        let (file, _): (File, _) = opened.map_err(|source| PublishError::Io {
            action: "open",
            path: path.to_owned(),
            source,
        })?;
        let read_at = |offset, buf: &mut [u8]| file.read_exact_at(buf, offset);
        self.sending.send(digest, bytes, &read_at).map_err(failed)
    }

    fn failed(&self, source: RegistryError) -> PublishError {
        PublishError::Registry {
            reference: self.to.to_string(),
            source,
        }
    }
}
