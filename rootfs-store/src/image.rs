//! Opens images in OCI layouts and Docker archives, and checks every document on the way to their layers.
//!
//! Invariant: where a digest names a document, nothing of it is used before its bytes were found to have that digest.

mod archive;
mod documents;
mod download;
mod error;
mod layout;
mod platform;
mod registry;
mod select;
mod shape;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifest, MediaType};
use serde::{Deserialize, Serialize};

use crate::progress::Progress;
use crate::reference::ImageReference;
pub use archive::ArchiveError;
pub(crate) use documents::HexDigest;
use documents::{Documents, read_blob, read_shaped};
pub use download::Download;
pub(crate) use download::{remove_old_downloads, while_downloading};
pub use error::ImageError;
use layout::Layout;
use platform::DEFAULT_ARCHITECTURE;
pub use platform::Platform;
pub(crate) use registry::open_in_registry;
use shape::Shape;

/// Largest JSON document (index, manifest, config) that is read, in bytes: the safe limit of registries.
pub const MAX_DOCUMENT_BYTES: u64 = 4 << 20;
/// Most layers that an image may have.
pub const MAX_LAYERS: usize = 1024;

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

/// Where the bytes of a layer's blob are.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum BlobPlace {
    /// They are a file.
    File(PathBuf),
    /// They come from a registry.
    Download(Arc<Download>),
    /// They are a part of an archive.
    Archive {
        /// The archive, or what it was decompressed to.
        archive: Arc<File>,
        /// Where the archive was found, for messages.
        path: PathBuf,
        /// Where in `archive` the blob starts, in bytes.
        offset: u64,
    },
}

impl BlobPlace {
    /// The file that messages should name.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Archive { path, .. } => path,
            Self::Download(download) => download.path(),
        }
    }
}

/// One layer of an image; its blob exists and has the right size, but its bytes are not verified yet.
#[derive(Debug, Clone)]
pub struct Layer {
    /// `sha256:…` of the blob; nothing in a Docker archive, where only `diff_id` vouches for a layer.
    pub digest: Option<String>,
    /// Size of the blob in bytes.
    pub size: u64,
    /// `sha256:…` of the plain tar stream, from the config.
    pub diff_id: String,
    /// How the blob is compressed.
    pub compression: Compression,
    /// Where the blob is.
    pub place: BlobPlace,
}

impl ImageConfig {
    /// The architecture that its programs are for, as Go names it.
    #[must_use]
    pub fn architecture(&self) -> &str {
        self.architecture.as_deref().unwrap_or(DEFAULT_ARCHITECTURE)
    }
}

impl Layer {
    /// What messages call it: the blob's digest, or else its `diff_id`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.digest.as_deref().unwrap_or(&self.diff_id)
    }
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
    /// The architecture that its programs are for, as Go names it; nothing for `amd64`, or where nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
}

/// An image whose documents were verified.
#[derive(Debug, Clone)]
pub struct Image {
    /// `sha256:…` of the image's manifest; of its config for an image in a Docker archive, which has no manifest with a
    /// digest. Docker calls the latter the image's ID.
    pub manifest_digest: String,
    /// What to run in it.
    pub config: ImageConfig,
    /// The JSON of its config, with all that nothing here knows.
    pub raw_config: Vec<u8>,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// Total size of the layer blobs, in bytes.
    pub layers_bytes: u64,
}

/// What it takes to open an archive that has to be decompressed first.
#[derive(Clone, Copy)]
pub struct Scratch<'a> {
    /// The folder for an unnamed file that lives as long as the image's [`Layer`]s.
    pub dir: &'a Path,
    /// Most bytes that the archive may decompress to.
    pub limit_bytes: u64,
    /// Told how much of the archive was read.
    pub progress: &'a dyn Progress,
}

impl fmt::Debug for Scratch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch")
            .field("dir", &self.dir)
            .field("limit_bytes", &self.limit_bytes)
            .finish_non_exhaustive()
    }
}

/// Opens the image that `reference` names and verifies its documents.
///
/// Of an index that lists several machines, the image for `platform` is taken. Layer blobs are only looked up and
/// measured here; their bytes are verified while they are read, by [`crate::tree::build`].
///
/// # Errors
/// Any [`ImageError`]; nothing is written in any case.
pub fn open(
    reference: &ImageReference,
    platform: &Platform,
    scratch: &Scratch<'_>,
) -> Result<Image, ImageError> {
    match reference {
        ImageReference::Oci { dir, tag } => {
            layout::check_version(dir)?;
            let chosen = select::in_layout(dir, tag.as_deref(), platform)?;
            read_image(&Layout(dir), chosen, platform)
        }
        ImageReference::DockerArchive { file, image } => {
            archive::open(file, image.as_deref(), platform, scratch)
        }
        ImageReference::Docker { .. } => Err(ImageError::NoStore {
            reference: reference.to_string(),
        }),
    }
}

/// Reads the image for `platform` that `chosen` is or has.
fn read_image(
    from: &dyn Documents,
    chosen: Descriptor,
    platform: &Platform,
) -> Result<Image, ImageError> {
    let descriptor = select::manifest(from, chosen, platform)?;
    let manifest_digest = descriptor.digest().to_string();
    let manifest: ImageManifest = read_shaped(from, &descriptor, Shape::Manifest)?;
    check_config_type(manifest.config())?;
    let raw_config = read_blob(from, manifest.config())?;
    let config = documents::parse(manifest.config().digest().as_ref(), &raw_config)?;
    let find = |descriptor: &Descriptor, diff_id: &str| find_layer(from, descriptor, diff_id);
    let image = assemble(manifest_digest, &config, platform, manifest.layers(), find)?;
    Ok(Image {
        raw_config,
        ..image
    })
}

/// Checks that config and layers belong together and to `platform`, and finds the layers; the caller adds the raw config.
fn assemble<T>(
    manifest_digest: String,
    config: &ImageConfiguration,
    platform: &Platform,
    layers: &[T],
    find: impl Fn(&T, &str) -> Result<Layer, ImageError>,
) -> Result<Image, ImageError> {
    // Not every index says what machine its manifests are for; the config always does, but for the variant.
    let variant = config.variant().clone();
    let built_for = Platform {
        os: config.os().to_string(),
        architecture: config.architecture().to_string(),
        variant: variant.or_else(|| platform.variant.clone()),
    };
    if !built_for.is_same(platform) {
        return Err(ImageError::OtherPlatform {
            manifest: manifest_digest,
            found: built_for.to_string(),
            asked: platform.to_string(),
        });
    }
    let diff_ids = config.rootfs().diff_ids();
    if layers.len() > MAX_LAYERS {
        return Err(ImageError::TooManyLayers {
            manifest: manifest_digest,
            layers: layers.len(),
        });
    }
    if layers.len() != diff_ids.len() {
        return Err(ImageError::LayerCount {
            manifest: manifest_digest,
            layers: layers.len(),
            diff_ids: diff_ids.len(),
        });
    }
    let mut found = Vec::with_capacity(diff_ids.len());
    let mut layers_bytes = 0u64;
    for (layer, diff_id) in layers.iter().zip(diff_ids) {
        if documents::sha256_name(diff_id).is_none() {
            return Err(ImageError::UnsupportedDigest {
                digest: diff_id.clone(),
            });
        }
        let layer = find(layer, diff_id)?;
        layers_bytes =
            layers_bytes
                .checked_add(layer.size)
                .ok_or_else(|| ImageError::LayersTooLarge {
                    manifest: manifest_digest.clone(),
                })?;
        found.push(layer);
    }
    Ok(Image {
        manifest_digest,
        config: defaults_of(config),
        raw_config: Vec::new(),
        layers: found,
        layers_bytes,
    })
}

fn find_layer(
    from: &dyn Documents,
    descriptor: &Descriptor,
    diff_id: &str,
) -> Result<Layer, ImageError> {
    Ok(Layer {
        place: from.layer(descriptor)?,
        compression: compression_of(descriptor)?,
        digest: Some(descriptor.digest().to_string()),
        size: descriptor.size(),
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
    let architecture = config.architecture().to_string();
    let architecture = (architecture != DEFAULT_ARCHITECTURE).then_some(architecture);
    let Some(config) = config.config() else {
        return ImageConfig {
            architecture,
            ..ImageConfig::default()
        };
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
        architecture,
    }
}
