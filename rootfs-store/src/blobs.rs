//! Blobs of the store's image layout: files named by the digest of their bytes.
//!
//! Invariant: a file in `blobs/sha256` is complete. It is written in `staging`, synced, then renamed.

mod write;
mod writeback;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::digest::BlobDigest;
use crate::files::{Files, STAGED_PREFIX};
use crate::image::MAX_DOCUMENT_BYTES;
use crate::leases::Lease;
use crate::store::StoreError;
pub(crate) use write::{NewBlob, StagedBlob};
pub(crate) use writeback::Writeback;

/// Where an OCI image layout keeps its blobs.
pub(crate) const BLOBS: &str = "blobs/sha256";
const STAGING: &str = "staging";
/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;
/// A staged file that nobody holds is left over from a crash once it is older than this; before, its writer may not
/// have locked it yet.
const LEFTOVER_AGE: Duration = Duration::from_secs(60);
/// How [`open_blob`] fails where something else than a file is.
const NO_FILE: io::ErrorKind = io::ErrorKind::InvalidInput;

/// The blobs of one store.
#[derive(Debug)]
pub(crate) struct Blobs {
    files: Files,
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

impl Published {
    /// Bytes that the store grew by.
    pub(crate) fn grown(&self) -> u64 {
        if self.new { self.bytes } else { 0 }
    }
}

/// A blob that is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) digest: BlobDigest,
    pub(crate) bytes: u64,
    /// Since it was written; zero if that lies in the future.
    pub(crate) age: Duration,
}

impl Blobs {
    /// Opens the blobs of the store in `root` and removes what crashed writers left.
    pub(crate) fn open(root: &Path, files: Files) -> Result<Self, StoreError> {
        create_dir(&files, root, "blobs")?;
        create_dir(&files, &root.join("blobs"), "sha256")?;
        create_dir(&files, root, STAGING)?;
        let blobs = Self {
            files,
            dir: root.join(BLOBS),
            staging: root.join(STAGING),
        };
        blobs
            .remove_leftovers()
            .map_err(io_error("clean", &blobs.staging))?;
        Ok(blobs)
    }

    /// Makes changes below the store's root.
    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    /// The folder of all blobs.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn path(&self, digest: &BlobDigest) -> PathBuf {
        self.dir.join(digest.file_name())
    }

    /// The folder for files that are not in their place yet; on the same file system as the blobs.
    pub(crate) fn staging(&self) -> &Path {
        &self.staging
    }

    /// A new folder in `staging`, removed when it is dropped.
    pub(crate) fn staged_dir(&self) -> Result<TempDir, StoreError> {
        self.files
            .stage_dir(&self.staging)
            .map_err(io_error("create a folder in", &self.staging))
    }

    pub(crate) fn create(&self) -> Result<NewBlob<'_>, StoreError> {
        let file = self
            .files
            .stage(&self.staging)
            .map_err(io_error("create a file in", &self.staging))?;
        file.as_file()
            .get()
            .try_lock()
            .map_err(|error| io_error("lock", file.path())(error.into()))?;
        Ok(NewBlob::new(self, file))
    }

    /// Stores a small blob, and keeps it by `lease`.
    pub(crate) fn put(&self, bytes: &[u8], lease: &Lease) -> Result<Published, StoreError> {
        let mut blob = self.create()?;
        blob.write(bytes)?;
        blob.finish()?.publish(lease)
    }

    /// Makes sure that published blobs stay published when the power fails.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        sync_dir(&self.files, &self.dir)
    }

    /// All blobs; what is not called like one is not ours.
    pub(crate) fn list(&self) -> Result<Vec<Found>, StoreError> {
        let error = || io_error("list", &self.dir);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(error())? {
            let entry = entry.map_err(error())?;
            let Some(digest) = BlobDigest::of_file_name(&entry.file_name()) else {
                continue;
            };
            // It may have gone since the folder was listed.
            let Some(metadata) = entry.metadata().ok().filter(fs::Metadata::is_file) else {
                continue;
            };
            found.push(Found {
                digest,
                bytes: metadata.len(),
                age: age(&metadata),
            });
        }
        found.sort_unstable_by_key(|blob| blob.digest);
        Ok(found)
    }

    /// Whether a blob of this size is there.
    pub(crate) fn has(&self, digest: &BlobDigest, bytes: u64) -> bool {
        let metadata = self.path(digest).metadata();
        metadata.is_ok_and(|metadata| metadata.len() == bytes)
    }

    /// Whether the blob is there and was written, or touched, within `grace`.
    pub(crate) fn is_young(
        &self,
        digest: &BlobDigest,
        grace: Duration,
    ) -> Result<bool, StoreError> {
        let path = self.path(digest);
        match path.metadata() {
            Ok(metadata) => Ok(age(&metadata) < grace),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(io_error("inspect", &path)(error)),
        }
    }

    /// Makes a blob as young as if it were written now, if it is ours.
    pub(crate) fn touch(&self, digest: &BlobDigest) {
        let path = self.path(digest);
        let touch = |file: File| file.set_modified(SystemTime::now());
        if let Err(error) = File::open(&path).and_then(touch) {
            tracing::debug!(path = %path.display(), %error, "could not make a blob young");
        }
    }

    /// The digest of the bytes that the blob has now.
    pub(crate) fn hash(&self, digest: &BlobDigest) -> Result<BlobDigest, StoreError> {
        let path = self.path(digest);
        let hash = open_blob(&path).and_then(|(file, _)| hash(file));
        hash.map_err(io_error("read", &path))
    }

    /// Reads and verifies a JSON document; nothing if there is no such blob.
    pub(crate) fn document(&self, digest: &BlobDigest) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(digest);
        let file = match open_blob(&path) {
            Ok((file, bytes)) if bytes <= MAX_DOCUMENT_BYTES => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() != NO_FILE => return Err(io_error("open", &path)(error)),
            Ok(_) | Err(_) => {
                return Err(StoreError::NoDocument {
                    digest: *digest,
                    path,
                });
            }
        };
        let mut bytes = Vec::new();
        file.take(MAX_DOCUMENT_BYTES)
            .read_to_end(&mut bytes)
            .map_err(io_error("read", &path))?;
        match BlobDigest::of(&bytes) == *digest {
            true => Ok(Some(bytes)),
            false => Err(StoreError::BlobDamaged {
                digest: *digest,
                path,
            }),
        }
    }

    /// Removes what crashed processes left: nothing that is not ours, nor what somebody holds.
    pub(crate) fn remove_leftovers(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.staging)? {
            let entry = entry?;
            // Another process may be done with it in the meantime.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let ours = entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(STAGED_PREFIX.as_bytes());
            if !ours || metadata.modified()?.elapsed().unwrap_or_default() <= LEFTOVER_AGE {
                continue;
            }
            let path = entry.path();
            let removed = match metadata.is_dir() {
                _ if is_held(&path) => Ok(()),
                true => self.files.remove_dir_all(&path),
                false if !metadata.is_file() => Ok(()),
                false => self.files.remove_file(&path),
            };
            if let Err(error) = removed {
                tracing::warn!(path = %path.display(), %error, "could not remove a left-over");
            }
        }
        Ok(())
    }
}

/// Opens a file that something may have put there which is none: of a pipe, nobody would ever write to the other end.
/// Returns its length, too.
pub(crate) fn open_blob(path: &Path) -> io::Result<(File, u64)> {
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblock)
        .open(path)?;
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true => Ok((file, metadata.len())),
        false => Err(io::Error::new(NO_FILE, "it is no file")),
    }
}

/// The digest of all that can be read.
pub(crate) fn hash(mut bytes: impl Read) -> io::Result<BlobDigest> {
    let (mut buffer, mut hasher) = (vec![0; BUFFER_BYTES], Sha256::new());
    loop {
        match bytes.read(&mut buffer) {
            Ok(0) => return Ok(BlobDigest::from_bytes(hasher.finalize().into())),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Since the file was written; zero if that lies in the future, as after the clock was set back.
pub(crate) fn age(metadata: &fs::Metadata) -> Duration {
    let modified = metadata.modified().ok();
    let elapsed = modified.and_then(|time| time.elapsed().ok());
    elapsed.unwrap_or_default()
}

/// Whether a process has locked the file or folder.
fn is_held(path: &Path) -> bool {
    matches!(
        File::open(path).map(|file| file.try_lock()),
        Ok(Err(TryLockError::WouldBlock))
    )
}

/// Makes sure that a store has the folder `name`, durably; a link to elsewhere is refused.
pub(crate) fn create_dir(files: &Files, parent: &Path, name: &str) -> Result<(), StoreError> {
    let path = parent.join(name);
    match files.create_dir(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let metadata = path.symlink_metadata();
            if !metadata.map_err(io_error("inspect", &path))?.is_dir() {
                let error = io::ErrorKind::NotADirectory.into();
                return Err(io_error("use as a folder", &path)(error));
            }
        }
        Err(error) => return Err(io_error("create", &path)(error)),
    }
    // Also where it was there: who made it may have been killed before this.
    sync_dir(files, parent)
}

/// Makes names in `dir` durable.
pub(crate) fn sync_dir(files: &Files, dir: &Path) -> Result<(), StoreError> {
    files.sync_dir(dir).map_err(io_error("sync", dir))
}

/// Writes `bytes` to `path` so that after a crash there is the old file or the new one, and then the new one for good.
///
/// `staging` is on the same file system.
pub(crate) fn replace_file(
    files: &Files,
    staging: &Path,
    dir: &Path,
    name: &str,
    bytes: &[u8],
) -> Result<(), StoreError> {
    let path = dir.join(name);
    let write = || -> io::Result<()> {
        let mut file = files.stage(staging)?;
        file.write_all(bytes)?;
        // As other tools leave such files, which rewrite them in place.
        file.as_file().set_mode(0o644)?;
        file.as_file().sync_all()?;
        files.keep(file, &path)
    };
    write().map_err(io_error("write", &path))?;
    sync_dir(files, dir)
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
