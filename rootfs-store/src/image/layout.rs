//! Files of an OCI image layout, found by digest and verified.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndex, OciLayout};

use super::documents::{Documents, parse, sha256_name};
use super::shape::{self, Shape};
use super::{BlobPlace, ImageError, MAX_DOCUMENT_BYTES};

const LAYOUT_VERSION: &str = "1.0.0";

/// The documents of a layout in this folder.
pub(super) struct Layout<'a>(pub(super) &'a Path);

impl Documents for Layout<'_> {
    fn manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        self.blob(descriptor)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        read_bounded(&find_blob(self.0, descriptor)?)
    }

    fn layer(&self, descriptor: &Descriptor) -> Result<BlobPlace, ImageError> {
        find_blob(self.0, descriptor).map(BlobPlace::File)
    }
}

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

/// Finds the file of a blob and compares its size with the descriptor's.
fn find_blob(dir: &Path, descriptor: &Descriptor) -> Result<PathBuf, ImageError> {
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
