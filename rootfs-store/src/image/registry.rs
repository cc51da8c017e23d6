//! Images in registries: documents that are fetched, layers that are yet to come.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use oci_spec::image::{Descriptor, DescriptorBuilder, MediaType, Sha256Digest};

use super::documents::Documents;
use super::download::Download;
use super::{BlobPlace, Image, ImageError, Platform, read_image};
use crate::blobs::Blobs;
use crate::digest::BlobDigest;
use crate::registry::{Fetched, Registries, RegistryReference, Repository};

/// Opens the image that `reference` names. Its layers come when they are read under
/// [`while_downloading`](super::while_downloading), to the store in `root`.
pub(crate) fn open_in_registry(
    registries: &Registries,
    reference: &RegistryReference,
    platform: &Platform,
    blobs: &Blobs,
    root: &Path,
) -> Result<Image, ImageError> {
    let span = tracing::info_span!("registry.image", %reference, %platform);
    let _entered = span.enter();
    let repository = registries.repository(reference.host(), reference.repository());
    let top = repository.manifest(&reference.manifest())?;
    let chosen = descriptor(&top)?;
    let documents = InRegistry {
        repository,
        top,
        layers: RefCell::default(),
        blobs,
        root,
    };
    read_image(&documents, chosen, platform)
}

fn descriptor(fetched: &Fetched) -> Result<Descriptor, ImageError> {
    let unusable = || ImageError::UnsupportedDigest {
        digest: fetched.digest.to_string(),
    };
    let digest: Sha256Digest = fetched.digest.file_name().parse().map_err(|_| unusable())?;
    let built = DescriptorBuilder::default()
        .media_type(MediaType::from(fetched.media_type.as_str()))
        .digest(digest)
        .size(fetched.bytes.len() as u64)
        .build();
    built.map_err(|_| unusable())
}

struct InRegistry<'a> {
    repository: Repository,
    /// What the reference names.
    top: Fetched,
    /// Layers so far: an image may have one several times.
    layers: RefCell<HashMap<BlobDigest, Arc<Download>>>,
    blobs: &'a Blobs,
    root: &'a Path,
}

impl Documents for InRegistry<'_> {
    fn manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        let digest = blob_digest(descriptor)?;
        if digest == self.top.digest {
            return Ok(self.top.bytes.clone());
        }
        Ok(self.repository.manifest(&digest.to_string())?.bytes)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        let digest = blob_digest(descriptor)?;
        Ok(self.repository.blob(&digest, descriptor.size())?)
    }

    fn layer(&self, descriptor: &Descriptor) -> Result<BlobPlace, ImageError> {
        let digest = blob_digest(descriptor)?;
        let mut layers = self.layers.borrow_mut();
        let download = layers.entry(digest).or_insert_with(|| {
            let repository = self.repository.clone();
            let size = descriptor.size();
            let download = Download::new(repository, digest, size, self.blobs, self.root);
            Arc::new(download)
        });
        Ok(BlobPlace::Download(Arc::clone(download)))
    }
}

fn blob_digest(descriptor: &Descriptor) -> Result<BlobDigest, ImageError> {
    let digest = descriptor.digest().to_string();
    digest
        .parse()
        .map_err(|_| ImageError::UnsupportedDigest { digest })
}
