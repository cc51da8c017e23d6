//! Reading of a second copy.

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;

use super::error::is_of_all;
use super::{NotRepaired, RepairError, RepairSource};
use crate::blobs::{BLOBS, open_blob};
use crate::digest::BlobDigest;
use crate::registry::{Registries, RegistryError, Repository};
use crate::store::StoreError;

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Takes the bytes of a blob in order.
type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), StoreError>;

/// A second copy that was found.
pub(super) struct SecondCopy {
    source: RepairSource,
    place: Place,
}

enum Place {
    /// The folder of its blobs.
    Blobs(PathBuf),
    Repository(Repository),
}

impl SecondCopy {
    pub(super) fn open(
        source: &RepairSource,
        registries: &Registries,
    ) -> Result<Self, RepairError> {
        let place = match source {
            RepairSource::Folder(dir) => {
                let blobs = dir.join(BLOBS);
                if !blobs.is_dir() {
                    return Err(RepairError::NoLayout { path: dir.clone() });
                }
                Place::Blobs(blobs)
            }
            RepairSource::Registry(reference) => {
                let repository = registries.repository(reference.host(), reference.repository());
                Place::Repository(repository)
            }
        };
        let source = source.clone();
        Ok(Self { source, place })
    }

    /// Where a blob is, for messages.
    pub(super) fn place(&self, digest: &BlobDigest) -> String {
        match &self.place {
            Place::Blobs(dir) => dir.join(digest.file_name()).display().to_string(),
            Place::Repository(_) => format!("{}@{digest}", self.source),
        }
    }

    /// Hands the bytes of a blob to `sink`, `limit` at most; what they are is for the caller to verify.
    pub(super) fn read(
        &self,
        digest: &BlobDigest,
        limit: u64,
        sink: Sink<'_>,
    ) -> Result<(), NotRepaired> {
        match &self.place {
            Place::Blobs(dir) => self.read_file(dir.join(digest.file_name()), digest, limit, sink),
            Place::Repository(repository) => self.read_remote(repository, digest, limit, sink),
        }
    }

    /// Whether it can be asked at all, for which it is asked whether it has a blob.
    pub(super) fn answers(&self, digest: &BlobDigest) -> bool {
        match &self.place {
            Place::Blobs(_) => true,
            Place::Repository(repository) => match repository.blob_size(digest) {
                Err(error) => !is_of_all(&error),
                Ok(_) => true,
            },
        }
    }

    fn read_file(
        &self,
        path: PathBuf,
        digest: &BlobDigest,
        limit: u64,
        sink: Sink<'_>,
    ) -> Result<(), NotRepaired> {
        let unreadable = |source| NotRepaired::Unreadable {
            path: path.clone(),
            source,
        };
        let (file, len) = match open_blob(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(self.missing(digest));
            }
            opened => opened.map_err(unreadable)?,
        };
        if len > limit {
            return Err(self.too_long(digest, limit));
        }
        // It may grow meanwhile.
        let mut file = file.take(limit);
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            match file.read(&mut buffer).map_err(unreadable)? {
                0 => return Ok(()),
                count => sink(&buffer[..count])?,
            }
        }
    }

    fn read_remote(
        &self,
        repository: &Repository,
        digest: &BlobDigest,
        limit: u64,
        sink: Sink<'_>,
    ) -> Result<(), NotRepaired> {
        let failed = |source| self.failed(digest, source);
        let Some(size) = repository.blob_size(digest).map_err(failed)? else {
            // Registries keep manifests apart.
            return self.read_manifest(repository, digest, limit, sink);
        };
        if size > limit {
            return Err(self.too_long(digest, limit));
        }
        let mut sink = |piece: &[u8]| Ok(sink(piece)?);
        repository.read_whole_blob(digest, size, &mut sink, failed)
    }

    fn read_manifest(
        &self,
        repository: &Repository,
        digest: &BlobDigest,
        limit: u64,
        sink: Sink<'_>,
    ) -> Result<(), NotRepaired> {
        let manifest = repository.manifest(&digest.to_string());
        let manifest = manifest.map_err(|source| self.failed(digest, source))?;
        match manifest.bytes.len() as u64 > limit {
            true => Err(self.too_long(digest, limit)),
            false => Ok(sink(&manifest.bytes)?),
        }
    }

    fn missing(&self, digest: &BlobDigest) -> NotRepaired {
        let place = self.place(digest);
        NotRepaired::Missing { place }
    }

    fn too_long(&self, digest: &BlobDigest, limit: u64) -> NotRepaired {
        let place = self.place(digest);
        NotRepaired::TooLong { place, limit }
    }

    fn failed(&self, digest: &BlobDigest, source: RegistryError) -> NotRepaired {
        let place = self.place(digest);
        match source {
            source if source.is_not_found() => NotRepaired::Missing { place },
            RegistryError::DigestMismatch { found, .. } => NotRepaired::Damaged {
                place,
                actual: found,
            },
            source => NotRepaired::Registry { place, source },
        }
    }
}

impl fmt::Display for SecondCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}
