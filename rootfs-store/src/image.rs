//! Opens an OCI image layout and checks every document on the way to its layers.
//!
//! Invariant: nothing of a document is used before its size and SHA-256 were found to be what its descriptor says.

mod error;
mod layout;
mod select;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifest, MediaType};
use serde::{Deserialize, Serialize};

use crate::reference::ImageReference;
pub use error::ImageError;
pub(crate) use layout::HexDigest;

/// Largest JSON document (index, manifest, config) that is read, in bytes: the safe limit of registries.
pub const MAX_DOCUMENT_BYTES: u64 = 4 << 20;
/// Most layers that an image may have.
pub const MAX_LAYERS: usize = 1024;

/// The machine that an image was built for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// Operating system as Go names it: `linux`.
    pub os: String,
    /// Architecture as Go names it: `amd64`.
    pub architecture: String,
}

impl Default for Platform {
    fn default() -> Self {
        Self {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
        }
    }
}

impl FromStr for Platform {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        match text.split_once('/') {
            Some((os, architecture)) if !os.is_empty() && !architecture.is_empty() => Ok(Self {
                os: os.to_owned(),
                architecture: architecture.to_owned(),
            }),
            _ => Err(ImageError::BadPlatform {
                platform: text.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

/// How the bytes of a layer blob become a tar stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// The blob is the tar stream.
    None,
    /// One or more gzip members.
    Gzip,
    /// Zstandard frames, skippable ones among them.
    Zstd,
}

/// One layer of an image; its blob exists and has the right size, but its bytes are not verified yet.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The descriptor in the manifest.
    pub descriptor: Descriptor,
    /// `sha256:…` of the plain tar stream, from the config.
    pub diff_id: String,
    /// How the blob is compressed.
    pub compression: Compression,
    /// The file that holds the blob.
    pub path: PathBuf,
}

/// What the image's author wants to be run: the parts of its config that a machine can honour.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageConfig {
    /// `NAME=value` pairs.
    pub env: Vec<String>,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// Default arguments, or the whole command where there is no entry point.
    pub cmd: Vec<String>,
    /// `user[:group]` by name or number; empty means root.
    pub user: String,
    /// Folder that the command starts in; empty means `/`.
    pub working_dir: String,
    /// Labels, sorted by name.
    pub labels: Vec<(String, String)>,
    /// The signal that asks the command to end.
    pub stop_signal: Option<String>,
}

/// An image whose documents were verified.
#[derive(Debug, Clone)]
pub struct Image {
    /// `sha256:…` of the image's manifest.
    pub manifest_digest: String,
    /// What to run in it.
    pub config: ImageConfig,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// Total size of the layer blobs, in bytes.
    pub layers_bytes: u64,
}

/// Opens the image that `reference` names and verifies its documents.
///
/// Of an index that lists several machines, the image for `platform` is taken. Layer blobs are only looked up and
/// measured here; their bytes are verified while they are read, by [`crate::tree::build`].
///
/// # Errors
/// Any [`ImageError`]; nothing is written in any case.
pub fn open(reference: &ImageReference, platform: &Platform) -> Result<Image, ImageError> {
    let ImageReference::Oci { dir, tag } = reference else {
        return Err(ImageError::UnsupportedTransport {
            reference: reference.to_string(),
        });
    };
    layout::check_version(dir)?;
    let manifest = select::manifest(dir, tag.as_deref(), platform)?;
    read_image(dir, &manifest, platform)
}

fn read_image(
    dir: &Path,
    descriptor: &Descriptor,
    platform: &Platform,
) -> Result<Image, ImageError> {
    let manifest_digest = descriptor.digest().to_string();
    let manifest: ImageManifest = layout::read_document(dir, descriptor)?;
    check_config_type(manifest.config())?;
    let config: ImageConfiguration = layout::read_document(dir, manifest.config())?;

    // Not every index says what machine its manifests are for; the config always does.
    let built_for = Platform {
        os: config.os().to_string(),
        architecture: config.architecture().to_string(),
    };
    if built_for != *platform {
        return Err(ImageError::OtherPlatform {
            manifest: manifest_digest,
            found: built_for.to_string(),
            asked: platform.to_string(),
        });
    }
    let diff_ids = config.rootfs().diff_ids();
    if manifest.layers().len() > MAX_LAYERS {
        return Err(ImageError::TooManyLayers {
            manifest: manifest_digest,
            layers: manifest.layers().len(),
        });
    }
    if manifest.layers().len() != diff_ids.len() {
        return Err(ImageError::LayerCount {
            manifest: manifest_digest,
            layers: manifest.layers().len(),
            diff_ids: diff_ids.len(),
        });
    }
    let mut layers = Vec::with_capacity(diff_ids.len());
    let mut layers_bytes = 0u64;
    for (descriptor, diff_id) in manifest.layers().iter().zip(diff_ids) {
        layers_bytes = layers_bytes.checked_add(descriptor.size()).ok_or_else(|| {
            ImageError::LayersTooLarge {
                manifest: manifest_digest.clone(),
            }
        })?;
        layers.push(find_layer(dir, descriptor, diff_id)?);
    }
    Ok(Image {
        manifest_digest,
        config: defaults_of(&config),
        layers,
        layers_bytes,
    })
}

fn find_layer(dir: &Path, descriptor: &Descriptor, diff_id: &str) -> Result<Layer, ImageError> {
    if layout::sha256_name(diff_id).is_none() {
        return Err(ImageError::UnsupportedDigest {
            digest: diff_id.to_owned(),
        });
    }
    Ok(Layer {
        path: layout::find_blob(dir, descriptor)?,
        compression: compression_of(descriptor)?,
        descriptor: descriptor.clone(),
        diff_id: diff_id.to_owned(),
    })
}

/// An artifact that is no image (a chart, a signature, a disk of ours) differs by its config's type only.
fn check_config_type(config: &Descriptor) -> Result<(), ImageError> {
    match config.media_type() {
        MediaType::ImageConfig => Ok(()),
        MediaType::Other(name) if name == "application/vnd.docker.container.image.v1+json" => {
            Ok(())
        }
        other => Err(ImageError::MediaType {
            digest: config.digest().to_string(),
            media_type: other.to_string(),
            expected: "container image config",
        }),
    }
}

fn compression_of(layer: &Descriptor) -> Result<Compression, ImageError> {
    let media_type = layer.media_type().to_string();
    match media_type.as_str() {
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar"
        | "application/vnd.docker.image.rootfs.diff.tar" => Ok(Compression::None),
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(Compression::Gzip),
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(Compression::Zstd),
        _ => Err(ImageError::MediaType {
            digest: layer.digest().to_string(),
            media_type,
            expected: "layer of files",
        }),
    }
}

fn defaults_of(config: &ImageConfiguration) -> ImageConfig {
    let Some(config) = config.config() else {
        return ImageConfig::default();
    };
    let mut labels: Vec<_> = config
        .labels()
        .clone()
        .unwrap_or_default()
        .into_iter()
        .collect();
    labels.sort();
    ImageConfig {
        env: config.env().clone().unwrap_or_default(),
        entrypoint: config.entrypoint().clone().unwrap_or_default(),
        cmd: config.cmd().clone().unwrap_or_default(),
        user: config.user().clone().unwrap_or_default(),
        working_dir: config.working_dir().clone().unwrap_or_default(),
        labels,
        stop_signal: config.stop_signal().clone(),
    }
}
