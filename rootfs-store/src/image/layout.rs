//! Files of an OCI image layout, found by digest and verified.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndex, OciLayout};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::shape::{self, Shape};
use super::{ImageError, MAX_DOCUMENT_BYTES};

const LAYOUT_VERSION: &str = "1.0.0";

/// Makes sure that `dir` is a layout of the version that is understood here.
pub(super) fn check_version(dir: &Path) -> Result<(), ImageError> {
    let path = dir.join("oci-layout");
    let layout: OciLayout = parse(&path.display().to_string(), &read_bounded(&path)?)?;
    if layout.image_layout_version() != LAYOUT_VERSION {
        return Err(ImageError::LayoutVersion {
            path,
            found: layout.image_layout_version().clone(),
        });
    }
    Ok(())
}

/// Reads the layout's own index, which no digest protects.
pub(super) fn read_index(dir: &Path) -> Result<ImageIndex, ImageError> {
    let path = dir.join("index.json");
    let (document, bytes) = (path.display().to_string(), read_bounded(&path)?);
    shape::check(&document, &bytes, Shape::Index, None)?;
    parse(&document, &bytes)
}

/// Reads and verifies a manifest or an index, which must not be both.
pub(super) fn read_shaped<T: DeserializeOwned>(
    dir: &Path,
    descriptor: &Descriptor,
    shape: Shape,
) -> Result<T, ImageError> {
    let (digest, bytes) = read_verified(dir, descriptor)?;
    let media_type = descriptor.media_type().to_string();
    shape::check(&digest, &bytes, shape, Some(&media_type))?;
    parse(&digest, &bytes)
}

/// Reads, verifies and parses the document that `descriptor` names.
pub(super) fn read_document<T: DeserializeOwned>(
    dir: &Path,
    descriptor: &Descriptor,
) -> Result<T, ImageError> {
    let (digest, bytes) = read_verified(dir, descriptor)?;
    parse(&digest, &bytes)
}

/// Digest and bytes of the document that `descriptor` names.
fn read_verified(dir: &Path, descriptor: &Descriptor) -> Result<(String, Vec<u8>), ImageError> {
    let digest = descriptor.digest().to_string();
    if descriptor.size() > MAX_DOCUMENT_BYTES {
        return Err(ImageError::DocumentTooLarge {
            document: digest,
            size: descriptor.size(),
        });
    }
    let path = find_blob(dir, descriptor)?;
    let bytes = read_bounded(&path)?;
    let actual = digest_of(&bytes);
    if actual != digest {
        return Err(ImageError::DigestMismatch { digest, actual });
    }
    Ok((digest, bytes))
}

/// Finds the file of a blob and compares its size with the descriptor's.
pub(super) fn find_blob(dir: &Path, descriptor: &Descriptor) -> Result<PathBuf, ImageError> {
    let digest = descriptor.digest().to_string();
    let Some(name) = sha256_name(&digest) else {
        return Err(ImageError::UnsupportedDigest { digest });
    };
    let path = dir.join("blobs").join("sha256").join(name);
    let actual = match path.metadata() {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => return Err(no_file(path)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            return Err(ImageError::MissingBlob { digest, path });
        }
        Err(source) => return Err(ImageError::Io { path, source }),
    };
    if actual != descriptor.size() {
        return Err(ImageError::SizeMismatch {
            digest,
            expected: descriptor.size(),
            actual,
        });
    }
    Ok(path)
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

fn no_file(path: PathBuf) -> ImageError {
    let source = io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
    ImageError::Io { path, source }
}

/// Opens a file, but nothing else that a path may name: opening a pipe would wait for ever.
pub(super) fn open_file(path: &Path) -> Result<File, ImageError> {
    let io_error = |source| ImageError::Io {
        path: path.to_owned(),
        source,
    };
    if !path.metadata().map_err(io_error)?.is_file() {
        return Err(no_file(path.to_owned()));
    }
    File::open(path).map_err(io_error)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    open_file(path)?
        .take(MAX_DOCUMENT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| ImageError::Io {
            path: path.to_owned(),
            source,
        })?;
    let size = bytes.len() as u64;
    if size > MAX_DOCUMENT_BYTES {
        return Err(ImageError::DocumentTooLarge {
            document: path.display().to_string(),
            size,
        });
    }
    Ok(bytes)
}

pub(super) fn parse<T: DeserializeOwned>(document: &str, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|source| ImageError::Document {
        document: document.to_owned(),
        source,
    })
}
