//! Snapshots as OCI 1.1 artifacts: a manifest whose config describes the disk and whose layers are its packs.
//!
//! The config is JSON with these members:
//!
//! | member | content |
//! |---|---|
//! | `version` | 1 |
//! | `disk_bytes`, `chunk_bytes` | size of the disk and of its chunks |
//! | `image` | digest of the manifest of the image that the disk was made from, or null |
//! | `parent` | digest of the snapshot that this one changed, or null |
//! | `index` | root page of the index: `digest`, `pack`, `offset`, `length`; null if the disk is all zero |
//! | `machine` | what the image's config says about running it |
//!
//! Behind the packs, the layers may name a boot profile: see [`BootProfile`](crate::BootProfile).
//!
//! Invariant: the layers name every pack that the index needs, so a registry that keeps the manifest keeps the disk.

mod parse;
mod write;

use serde::{Deserialize, Serialize};

use crate::chunk_source::ChunkSource;
use crate::digest::{BlobDigest, SnapshotDigest};
use crate::image::ImageConfig;
use crate::index::{Index, Root};
use crate::store::StoreError;
pub use parse::{Manifest, parse_config, parse_manifest};
pub(crate) use write::{NewProfile, NewSnapshot};

/// The artifact type of a snapshot's manifest.
pub(crate) const ARTIFACT_TYPE: &str = "application/vnd.vm-sessions.disk.v1+json";
/// The media type of a snapshot's config.
pub(crate) const CONFIG_TYPE: &str = "application/vnd.vm-sessions.disk.config.v1+json";
/// The media type of a pack.
pub(crate) const PACK_TYPE: &str = "application/vnd.vm-sessions.pack.v1";
/// The media type of a boot profile.
pub(crate) const PROFILE_TYPE: &str = "application/vnd.vm-sessions.boot-profile.v1";
/// The version of configs that is written and read here.
pub(crate) const CONFIG_VERSION: u32 = 1;
/// Largest disk, in bytes: what ext4 can hold in blocks of 4 KiB without special means.
pub(crate) const MAX_DISK_BYTES: u64 = 1 << 44;
/// Most packs of a snapshot: two TiB of full ones.
const MAX_PACKS: usize = 4096;

/// An immutable disk.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its name.
    pub digest: SnapshotDigest,
    /// Size of the disk in bytes.
    pub disk_bytes: u64,
    /// Size of a chunk in bytes, a power of two.
    pub chunk_bytes: u32,
    /// Digest of the manifest of the image that the disk was made from.
    pub image: Option<String>,
    /// The snapshot that this one changed.
    pub parent: Option<SnapshotDigest>,
    /// What the image's author wants to be run.
    pub machine: ImageConfig,
    /// The packs that hold the disk's content, oldest first.
    pub packs: Vec<Pack>,
    /// The blob of its boot profile.
    pub profile: Option<NamedBlob>,
    pub(crate) root: Option<Root>,
}

/// A small blob, as a manifest names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedBlob {
    /// Its name.
    pub digest: BlobDigest,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A pack, as a manifest names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pack {
    /// Its name.
    pub digest: BlobDigest,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What a snapshot's documents must not be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// A document is not the JSON that its media type promises.
    #[error("its {document} is no valid JSON of its kind")]
    Json {
        /// `manifest` or `config`.
        document: &'static str,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The manifest is one of something else: an image, say.
    #[error("it is no disk, but an artifact of type `{artifact_type}`")]
    NoDisk {
        /// The artifact type, or the config's media type where there is none.
        artifact_type: String,
    },
    /// The config was written by a newer version.
    #[error("its config has version {found}; this version reads {CONFIG_VERSION}")]
    Version {
        /// The version in the config.
        found: u32,
    },
    /// A size or a list is out of bounds.
    #[error("its {what} is out of bounds")]
    Bounds {
        /// What is.
        what: &'static str,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    version: u32,
    disk_bytes: u64,
    chunk_bytes: u32,
    image: Option<String>,
    parent: Option<SnapshotDigest>,
    index: Option<Root>,
    machine: ImageConfig,
}

#[derive(Deserialize)]
struct ConfigVersion {
    version: u32,
}

impl Snapshot {
    /// Bytes of all packs together: what the snapshot would take alone.
    #[must_use]
    pub fn packs_bytes(&self) -> u64 {
        self.packs
            .iter()
            .map(|pack| pack.bytes)
            .fold(0, u64::saturating_add)
    }

    pub(crate) fn index(&self) -> Index {
        Index {
            root: self.root.map(Into::into),
            chunks: self.disk_bytes / u64::from(self.chunk_bytes),
        }
    }

    /// Reads the snapshot `digest`, whose packs must be there, or known to be elsewhere.
    pub(crate) fn read(source: &ChunkSource, digest: SnapshotDigest) -> Result<Self, StoreError> {
        let blobs = &source.blobs;
        let missing = || StoreError::NotFound {
            text: digest.to_string(),
        };
        let manifest = blobs.document(&digest.into())?.ok_or_else(missing)?;
        let fault = |source| StoreError::Manifest { digest, source };
        let manifest = parse_manifest(&manifest).map_err(fault)?;
        let config = blobs
            .document(&manifest.config.digest)?
            .ok_or(StoreError::BlobMissing {
                snapshot: digest,
                digest: manifest.config.digest,
            })?;
        let snapshot = parse_config(&config, digest, manifest).map_err(fault)?;
        for pack in &snapshot.packs {
            if !source.has(pack)? {
                return Err(StoreError::BlobMissing {
                    snapshot: digest,
                    digest: pack.digest,
                });
            }
        }
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests;
