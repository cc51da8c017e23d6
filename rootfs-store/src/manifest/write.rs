//! A new snapshot's documents, to bytes.

use oci_spec::image::{
    Descriptor, DescriptorBuilder, ImageManifestBuilder, MediaType, Sha256Digest,
};

use super::{
    ARTIFACT_TYPE, CONFIG_TYPE, CONFIG_VERSION, Config, MAX_PACKS, NamedBlob, PACK_TYPE,
    PROFILE_TYPE, Pack,
};
use crate::blobs::{Blobs, Published};
use crate::digest::{BlobDigest, SnapshotDigest};
use crate::image::{ImageConfig, MAX_DOCUMENT_BYTES};
use crate::index::Root;
use crate::leases::Lease;
use crate::profile::BootProfile;
use crate::store::StoreError;

/// What a new snapshot's documents say.
pub(crate) struct NewSnapshot {
    pub(crate) disk_bytes: u64,
    pub(crate) chunk_bytes: u32,
    pub(crate) image: Option<String>,
    pub(crate) parent: Option<SnapshotDigest>,
    pub(crate) machine: ImageConfig,
    pub(crate) packs: Vec<Pack>,
    pub(crate) profile: Option<NewProfile>,
    pub(crate) root: Option<Root>,
}

/// The boot profile of a new snapshot.
pub(crate) enum NewProfile {
    /// That of the snapshot before, whose blob is there.
    Same(NamedBlob),
    /// One that was recorded since.
    Recorded(BootProfile),
}

impl NewSnapshot {
    /// Writes config and manifest, durably and kept by `lease`; returns the snapshot and the bytes that the store grew
    /// by.
    pub(crate) fn write(
        self,
        blobs: &Blobs,
        lease: &Lease,
    ) -> Result<(SnapshotDigest, u64), StoreError> {
        if self.packs.len() > MAX_PACKS {
            return Err(StoreError::TooManyPacks {
                packs: self.packs.len(),
                limit: MAX_PACKS,
            });
        }
        let config = Config {
            version: CONFIG_VERSION,
            disk_bytes: self.disk_bytes,
            chunk_bytes: self.chunk_bytes,
            image: self.image,
            parent: self.parent,
            index: self.root,
            machine: self.machine,
        };
        let json = |source| StoreError::Encode { source };
        let config = put_document(blobs, &serde_json::to_vec(&config).map_err(json)?, lease)?;
        let mut grown = config.grown();
        let profile = match self.profile {
            None => None,
            Some(NewProfile::Same(blob)) => Some(blob),
            Some(NewProfile::Recorded(profile)) => {
                let blob = put_document(blobs, &profile.to_bytes(), lease)?;
                grown += blob.grown();
                Some(NamedBlob {
                    digest: blob.digest,
                    bytes: blob.bytes,
                })
            }
        };
        let packs = self.packs.iter();
        let packs = packs.map(|pack| descriptor(PACK_TYPE, &pack.digest, pack.bytes));
        let profile = profile.map(|blob| descriptor(PROFILE_TYPE, &blob.digest, blob.bytes));
        let layers = packs.chain(profile);
        let manifest = ImageManifestBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageManifest)
            .artifact_type(MediaType::Other(ARTIFACT_TYPE.to_owned()))
            .config(descriptor(CONFIG_TYPE, &config.digest, config.bytes)?)
            .layers(layers.collect::<Result<Vec<_>, _>>()?)
            .build()
            .map_err(|source| StoreError::Oci { source })?;
        let manifest = serde_json::to_vec(&manifest).map_err(json)?;
        // What a manifest names must be there before it.
        blobs.sync()?;
        let digest = SnapshotDigest::of(&manifest);
        lease.add_snapshot(&digest)?;
        let manifest = put_document(blobs, &manifest, lease)?;
        blobs.sync()?;
        Ok((digest, grown + manifest.grown()))
    }
}

/// Stores a document that [`Blobs::document`] will read.
fn put_document(blobs: &Blobs, bytes: &[u8], lease: &Lease) -> Result<Published, StoreError> {
    match bytes.len() as u64 <= MAX_DOCUMENT_BYTES {
        true => blobs.put(bytes, lease),
        false => Err(StoreError::DocumentTooLarge { bytes: bytes.len() }),
    }
}

fn descriptor(media_type: &str, digest: &BlobDigest, bytes: u64) -> Result<Descriptor, StoreError> {
    let oci = |source| StoreError::Oci { source };
    let digest: Sha256Digest = digest.file_name().parse().map_err(oci)?;
    DescriptorBuilder::default()
        .media_type(MediaType::Other(media_type.to_owned()))
        .digest(digest)
        .size(bytes)
        .build()
        .map_err(oci)
}
