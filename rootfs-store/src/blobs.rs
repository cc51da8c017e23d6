//! Blobs of the store's image layout: files named by the digest of their bytes.
//!
//! Invariant: a file in `blobs/sha256` is complete. It is written in `staging`, synced, then renamed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::digest::BlobDigest;
use crate::image::MAX_DOCUMENT_BYTES;
use crate::store::StoreError;

const BLOBS: &str = "blobs/sha256";
const STAGING: &str = "staging";
/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;
/// A staged file that nobody holds is left over from a crash once it is older than this; before, its writer may not
/// have locked it yet.
const LEFTOVER_AGE: Duration = Duration::from_secs(60);

/// The blobs of one store.
#[derive(Debug)]
pub(crate) struct Blobs {
    dir: PathBuf,
    staging: PathBuf,
}

/// A blob that was put in its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Published {
    pub(crate) digest: BlobDigest,
    pub(crate) bytes: u64,
    /// Whether the store did not have it before.
    pub(crate) new: bool,
}

impl Blobs {
    /// Opens the blobs of the store in `root` and removes what crashed writers left.
    pub(crate) fn open(root: &Path) -> Result<Self, StoreError> {
        let blobs = Self {
            dir: root.join(BLOBS),
            staging: root.join(STAGING),
        };
        for dir in [&blobs.dir, &blobs.staging] {
            fs::create_dir_all(dir).map_err(io_error("create", dir))?;
        }
        blobs
            .remove_leftovers()
            .map_err(io_error("clean", &blobs.staging))?;
        Ok(blobs)
    }

    pub(crate) fn path(&self, digest: &BlobDigest) -> PathBuf {
        self.dir.join(digest.file_name())
    }

    /// The folder for files that are not in their place yet; on the same file system as the blobs.
    pub(crate) fn staging(&self) -> &Path {
        &self.staging
    }

    pub(crate) fn create(&self) -> Result<NewBlob<'_>, StoreError> {
        let file = NamedTempFile::new_in(&self.staging)
            .map_err(io_error("create a file in", &self.staging))?;
        file.as_file()
            .try_lock()
            .map_err(|error| io_error("lock", file.path())(error.into()))?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(NewBlob {
            blobs: self,
            file,
            hasher: Sha256::new(),
            len: 0,
        })
    }

    /// Stores a small blob.
    pub(crate) fn put(&self, bytes: &[u8]) -> Result<Published, StoreError> {
        let mut blob = self.create()?;
        blob.write(bytes)?;
        blob.publish()
    }

    /// Makes sure that published blobs stay published when the power fails.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        sync_dir(&self.dir)
    }

    /// Reads and verifies a JSON document; nothing if there is no such blob.
    pub(crate) fn document(&self, digest: &BlobDigest) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", &path)(error)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_DOCUMENT_BYTES)
            .read_to_end(&mut bytes)
            .map_err(io_error("read", &path))?;
        let actual = BlobDigest::of(&bytes);
        if actual != *digest {
            return Err(StoreError::BlobDamaged {
                digest: *digest,
                path,
            });
        }
        Ok(Some(bytes))
    }

    fn remove_leftovers(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.staging)? {
            let path = entry?.path();
            // Another process may have finished with it in the meantime.
            let Ok(file) = File::open(&path) else {
                continue;
            };
            let age = file.metadata()?.modified()?.elapsed().unwrap_or_default();
            if age > LEFTOVER_AGE && file.try_lock().is_ok() {
                let _ = fs::remove_file(&path);
            }
        }
        Ok(())
    }
}

/// A blob that is being written; dropping it leaves nothing.
pub(crate) struct NewBlob<'a> {
    blobs: &'a Blobs,
    file: BufWriter<NamedTempFile>,
    hasher: Sha256,
    len: u64,
}

impl NewBlob<'_> {
    /// Bytes written so far.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        self.file
            .write_all(bytes)
            .map_err(io_error("write a blob to", &self.blobs.staging))
    }

    /// Syncs the blob's bytes and gives it its name; [`Blobs::sync`] makes the name durable.
    pub(crate) fn publish(self) -> Result<Published, StoreError> {
        let staging = &self.blobs.staging;
        let digest = BlobDigest::from_bytes(self.hasher.finalize().into());
        let path = self.blobs.path(&digest);
        let new = !path
            .metadata()
            .is_ok_and(|metadata| metadata.len() == self.len);
        if new {
            let file = self
                .file
                .into_inner()
                .map_err(|error| io_error("write a blob to", staging)(error.into_error()))?;
            file.as_file()
                .sync_all()
                .map_err(io_error("sync a blob in", staging))?;
            make_readable(file.as_file())
                .map_err(io_error("set the mode of a blob in", staging))?;
            file.persist(&path)
                .map_err(|error| io_error("rename a blob to", &path)(error.error))?;
        }
        Ok(Published {
            digest,
            bytes: self.len,
            new,
        })
    }
}

/// Temporary files are the owner's alone, blobs are as public as the folder that they are in.
fn make_readable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o444))
}

/// Makes names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(io_error("sync", dir))
}

/// Writes `bytes` to `path` so that after a crash there is the old file or the new one, and then the new one for good.
pub(crate) fn replace_file(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let path = dir.join(name);
    let write = || -> io::Result<()> {
        let mut file = NamedTempFile::new_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        make_readable(file.as_file())?;
        file.persist(&path)?;
        Ok(())
    };
    write().map_err(io_error("write", &path))?;
    sync_dir(dir)
}

pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests;
