//! Why an image can't be opened.

use std::io;
use std::path::PathBuf;

use super::archive::ArchiveError;
use super::{MAX_DOCUMENT_BYTES, MAX_LAYERS};
use crate::registry::RegistryError;

/// Why an image could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Layers that come from a registry are kept in a store, and there is none.
    #[error("`{reference}` can only be opened by a store: import it")]
    NoStore {
        /// The reference as given.
        reference: String,
    },
    /// A platform is not written as `OS/ARCHITECTURE[/VARIANT]`.
    #[error(
        "`{platform}` is no platform: write it as OS/ARCHITECTURE[/VARIANT], for example linux/amd64"
    )]
    BadPlatform {
        /// The text as given.
        platform: String,
    },
    /// The registry can't give the image.
    #[error("the registry can't give the image")]
    Registry(#[from] RegistryError),
    /// A file of the layout could not be read.
    #[error("could not read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A Docker archive does not hold what it should.
    #[error("could not open the image in archive {path}")]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        source: ArchiveError,
    },
    /// A blob that a document names is not in the layout.
    #[error("blob {digest} is missing from the image layout: no file {path}")]
    MissingBlob {
        /// Digest of the blob.
        digest: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A blob has not the size that its descriptor says.
    #[error(
        "blob {digest} has {actual} bytes, but its descriptor says {expected}: fetch the image again"
    )]
    SizeMismatch {
        /// Digest of the blob.
        digest: String,
        /// Size in the descriptor, in bytes.
        expected: u64,
        /// Size on disk, in bytes.
        actual: u64,
    },
    /// A blob's bytes don't hash to its digest.
    #[error("blob {digest} is corrupt, its bytes hash to {actual}: fetch the image again")]
    DigestMismatch {
        /// Digest in the descriptor.
        digest: String,
        /// Digest of the bytes.
        actual: String,
    },
    /// A digest uses an algorithm other than SHA-256.
    #[error("digest {digest} is not a sha256 digest; no other algorithm is supported")]
    UnsupportedDigest {
        /// The digest.
        digest: String,
    },
    /// A document is larger than [`MAX_DOCUMENT_BYTES`].
    #[error("{document} has {size} bytes, more than the limit of {MAX_DOCUMENT_BYTES}")]
    DocumentTooLarge {
        /// Path or digest of the document.
        document: String,
        /// Its size in bytes.
        size: u64,
    },
    /// A document is not the JSON that its media type promises.
    #[error("{document} is no valid OCI document")]
    Document {
        /// Path or digest of the document.
        document: String,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The folder's `oci-layout` names a version that can't be read.
    #[error("{path} is an OCI layout of version {found}; this version reads 1.0.0")]
    LayoutVersion {
        /// The `oci-layout` file.
        path: PathBuf,
        /// The version that it names.
        found: String,
    },
    /// No manifest carries the tag that was asked for.
    #[error("{dir} holds no image tagged `{tag}`; it holds: {available}")]
    NoSuchTag {
        /// The layout's folder.
        dir: PathBuf,
        /// The tag that was asked for.
        tag: String,
        /// The tags that are there, comma separated.
        available: String,
    },
    /// The layout holds several images and no tag was given.
    #[error("{dir} holds several images; name one as oci:DIR:TAG. It holds: {available}")]
    Ambiguous {
        /// The layout's folder.
        dir: PathBuf,
        /// The tags that are there, comma separated.
        available: String,
    },
    /// The layout or a nested index holds no manifest for the platform.
    #[error("{document} holds no image for {platform}; it holds: {offered}")]
    NoSuchPlatform {
        /// Path or digest of the index.
        document: String,
        /// The platform that was asked for.
        platform: String,
        /// The platforms that are there, comma separated.
        offered: String,
    },
    /// The image is for another machine.
    #[error("image {manifest} is for {found}, not for {asked}")]
    OtherPlatform {
        /// Digest of the manifest.
        manifest: String,
        /// The machine that it is for.
        found: String,
        /// The machine that was asked for.
        asked: String,
    },
    /// Indexes are nested more deeply than any tool writes them.
    #[error("index {digest} is nested more than {limit} deep")]
    NestedTooDeep {
        /// Digest of the innermost index that was read.
        digest: String,
        /// The limit.
        limit: usize,
    },
    /// A document is a manifest to some readers and an index to others (CVE-2021-41190).
    #[error(
        "{document} has the fields of both a manifest and an index, so readers may disagree about what it is"
    )]
    MixedDocument {
        /// Path or digest of the document.
        document: String,
    },
    /// A document contradicts the descriptor that names it.
    #[error("{document} calls itself {found}, but its descriptor says {expected}")]
    OtherMediaType {
        /// Digest of the document.
        document: String,
        /// The media type in the descriptor.
        expected: String,
        /// The media type in the document.
        found: String,
    },
    /// A descriptor's media type has no meaning here.
    #[error("{digest} has media type {media_type}, which is no {expected}")]
    MediaType {
        /// Digest of the blob.
        digest: String,
        /// Its media type.
        media_type: String,
        /// What was expected instead.
        expected: &'static str,
    },
    /// The manifest lists other layers than the config.
    #[error("manifest {manifest} has {layers} layers, but its config lists {diff_ids} diff_ids")]
    LayerCount {
        /// Digest of the manifest.
        manifest: String,
        /// Layers in the manifest.
        layers: usize,
        /// `diff_ids` in the config.
        diff_ids: usize,
    },
    /// The manifest lists more than [`MAX_LAYERS`] layers.
    #[error("manifest {manifest} has {layers} layers, more than the limit of {MAX_LAYERS}")]
    TooManyLayers {
        /// Digest of the manifest.
        manifest: String,
        /// Layers in the manifest.
        layers: usize,
    },
    /// The sizes of the layers add up to more than a 64-bit number can hold.
    #[error("the layers of manifest {manifest} claim more bytes than any disk can hold")]
    LayersTooLarge {
        /// Digest of the manifest.
        manifest: String,
    },
}
