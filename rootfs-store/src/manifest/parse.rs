//! A snapshot's documents, from bytes.

use oci_spec::image::{Descriptor, ImageManifest};

use super::{
    ARTIFACT_TYPE, CONFIG_TYPE, CONFIG_VERSION, Config, ConfigVersion, MAX_DISK_BYTES, MAX_PACKS,
    ManifestError, NamedBlob, PACK_TYPE, PROFILE_TYPE, Pack, Snapshot,
};
use crate::chunk::{MAX_CHUNK_BYTES, MIN_CHUNK_BYTES};
use crate::digest::SnapshotDigest;

/// What a snapshot's manifest names.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Manifest {
    /// The config.
    pub config: NamedBlob,
    /// The packs, oldest first.
    pub packs: Vec<Pack>,
    /// The boot profile.
    pub profile: Option<NamedBlob>,
}

/// Reads a snapshot's manifest.
///
/// # Errors
/// Any [`ManifestError`].
pub fn parse_manifest(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    let json = |source| ManifestError::Json {
        document: "manifest",
        source,
    };
    let manifest: ImageManifest = serde_json::from_slice(bytes).map_err(json)?;
    let config_type = manifest.config().media_type().to_string();
    let artifact_type = manifest
        .artifact_type()
        .as_ref()
        .map_or(config_type.clone(), ToString::to_string);
    if artifact_type != ARTIFACT_TYPE || config_type != CONFIG_TYPE {
        return Err(ManifestError::NoDisk { artifact_type });
    }
    let (mut packs, mut profile) = (Vec::new(), None);
    for layer in manifest.layers() {
        let blob = named_blob(layer)?;
        match (layer.media_type().to_string().as_str(), profile) {
            (PACK_TYPE, None) => packs.push(Pack {
                digest: blob.digest,
                bytes: blob.bytes,
            }),
            (PROFILE_TYPE, None) => profile = Some(blob),
            _ => {
                return Err(ManifestError::Bounds {
                    what: "layers' media type",
                });
            }
        }
    }
    if packs.len() > MAX_PACKS {
        return Err(ManifestError::Bounds {
            what: "number of packs",
        });
    }
    Ok(Manifest {
        config: named_blob(manifest.config())?,
        packs,
        profile,
    })
}

fn named_blob(descriptor: &Descriptor) -> Result<NamedBlob, ManifestError> {
    let digest = descriptor.digest().to_string().parse();
    let digest = digest.map_err(|_| ManifestError::Bounds {
        what: "digest algorithm",
    })?;
    Ok(NamedBlob {
        digest,
        bytes: descriptor.size(),
    })
}

/// Reads the config of the snapshot `digest`, which `manifest` names.
///
/// # Errors
/// Any [`ManifestError`].
pub fn parse_config(
    bytes: &[u8],
    digest: SnapshotDigest,
    manifest: Manifest,
) -> Result<Snapshot, ManifestError> {
    let json = |source| ManifestError::Json {
        document: "config",
        source,
    };
    let ConfigVersion { version } = serde_json::from_slice(bytes).map_err(json)?;
    if version != CONFIG_VERSION {
        return Err(ManifestError::Version { found: version });
    }
    let config: Config = serde_json::from_slice(bytes).map_err(json)?;
    let chunk = config.chunk_bytes;
    if !chunk.is_power_of_two() || !(MIN_CHUNK_BYTES..=MAX_CHUNK_BYTES).contains(&chunk) {
        return Err(ManifestError::Bounds { what: "chunk size" });
    }
    let whole = config.disk_bytes.is_multiple_of(u64::from(chunk));
    if config.disk_bytes == 0 || config.disk_bytes > MAX_DISK_BYTES || !whole {
        return Err(ManifestError::Bounds { what: "disk size" });
    }
    if config
        .index
        .is_some_and(|root| manifest.packs.iter().all(|pack| pack.digest != root.pack))
    {
        return Err(ManifestError::Bounds {
            what: "index root's pack",
        });
    }
    Ok(Snapshot {
        digest,
        disk_bytes: config.disk_bytes,
        chunk_bytes: chunk,
        image: config.image,
        parent: config.parent,
        machine: config.machine,
        packs: manifest.packs,
        profile: manifest.profile,
        root: config.index,
    })
}
