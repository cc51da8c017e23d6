//! Documents of an image, by the descriptors that name them, wherever they are.
//!
//! Invariant: nothing of a document is parsed before its bytes were found to have the digest that names it.

use oci_spec::image::Descriptor;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::shape::{self, Shape};
use super::{BlobPlace, ImageError, MAX_DOCUMENT_BYTES};

/// A place that has an image's documents and layers.
pub(super) trait Documents {
    /// The bytes of a manifest or an index, which nobody has verified yet; at most [`MAX_DOCUMENT_BYTES`].
    fn manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError>;

    /// The bytes of a small blob, which nobody has verified yet; at most [`MAX_DOCUMENT_BYTES`].
    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError>;

    /// Where the bytes of a layer will be read from.
    fn layer(&self, descriptor: &Descriptor) -> Result<BlobPlace, ImageError>;
}

/// Reads and verifies a manifest or an index, which must not be both.
pub(super) fn read_shaped<T: DeserializeOwned>(
    from: &dyn Documents,
    descriptor: &Descriptor,
    shape: Shape,
) -> Result<T, ImageError> {
    let digest = checked_digest(descriptor)?;
    let bytes = verified(&digest, from.manifest(descriptor)?)?;
    let media_type = descriptor.media_type().to_string();
    shape::check(&digest, &bytes, shape, Some(&media_type))?;
    parse(&digest, &bytes)
}

/// Reads and verifies the small blob that `descriptor` names.
pub(super) fn read_blob(
    from: &dyn Documents,
    descriptor: &Descriptor,
) -> Result<Vec<u8>, ImageError> {
    let digest = checked_digest(descriptor)?;
    verified(&digest, from.blob(descriptor)?)
}

/// The digest of a document whose size is possible.
fn checked_digest(descriptor: &Descriptor) -> Result<String, ImageError> {
    let digest = descriptor.digest().to_string();
    match descriptor.size() > MAX_DOCUMENT_BYTES {
        true => Err(ImageError::DocumentTooLarge {
            document: digest,
            size: descriptor.size(),
        }),
        false => Ok(digest),
    }
}

fn verified(digest: &str, bytes: Vec<u8>) -> Result<Vec<u8>, ImageError> {
    let actual = digest_of(&bytes);
    match actual == digest {
        true => Ok(bytes),
        false => Err(ImageError::DigestMismatch {
            digest: digest.to_owned(),
            actual,
        }),
    }
}

/// The 64 hexadecimal digits of a `sha256:…` digest; nothing else may become part of a path.
pub(crate) fn sha256_name(digest: &str) -> Option<&str> {
    let name = digest.strip_prefix("sha256:")?;
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (name.len() == 64 && name.bytes().all(is_hex)).then_some(name)
}

/// `sha256:…` of a document.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{:x}", HexDigest(Sha256::digest(bytes).into()))
}

/// A SHA-256 that formats as lower-case hexadecimal digits.
pub(crate) struct HexDigest(pub(crate) [u8; 32]);

impl std::fmt::LowerHex for HexDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

pub(super) fn parse<T: DeserializeOwned>(document: &str, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|source| ImageError::Document {
        document: document.to_owned(),
        source,
    })
}
