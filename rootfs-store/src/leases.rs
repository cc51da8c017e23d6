//! Leases: what somebody at work needs of the store, whatever becomes of names meanwhile.
//!
//! A lease is a file in `leases` that its holder keeps locked, so that it ends with the holder's process. It has a line
//! for each blob that must stay: `blob DIGEST`, or `document DIGEST` for a manifest with all that it names.
//!
//! Invariant: files are made and lines are added under the store's lock, which `gc` holds from before it reads the
//! leases until it has removed what nobody needs. A line is added before its blob gets its place, or before somebody
//! relies on a blob that is there already. So a blob is either named by a lease in time, or known to be gone.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::blobs::{create_dir, io_error};
use crate::digest::{BlobDigest, SnapshotDigest};
use crate::files::{Files, STAGED_PREFIX, StoreFile};
use crate::store::{StoreError, StoreLock};

const LEASES: &str = "leases";
/// Longest file that is read, in bytes: more lines than any one operation writes.
const MAX_LEASE_BYTES: u64 = 16 << 20;

/// Keeps blobs from being collected, in all processes that have the store open, until its last clone is dropped.
#[derive(Debug, Clone)]
pub struct Lease {
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    files: Files,
    root: PathBuf,
    path: PathBuf,
    file: Mutex<StoreFile>,
}

/// A line of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leased {
    /// A single blob.
    Blob(BlobDigest),
    /// A manifest and all that it names.
    Document(BlobDigest),
}

impl Lease {
    /// A new lease on nothing, in the store in `root`.
    pub(crate) fn new(files: &Files, root: &Path) -> Result<Self, StoreError> {
        let dir = root.join(LEASES);
        let lock = StoreLock::wait(files, root)?;
        create_dir(files, root, LEASES)?;
        let make = || -> io::Result<(StoreFile, PathBuf)> {
            let (file, path) = files.stage(&dir)?.into_parts();
            file.get().try_lock()?;
            // From here on it is the lease that removes it.
            Ok((file, path.keep()?))
        };
        let (file, path) = make().map_err(io_error("create a lease in", &dir))?;
        drop(lock);
        let held = Held {
            files: files.clone(),
            root: root.to_owned(),
            path,
            file: Mutex::new(file),
        };
        Ok(Self {
            held: Arc::new(held),
        })
    }

    /// Keeps a blob that is there, or is about to be.
    pub(crate) fn add_blob(&self, digest: BlobDigest) -> Result<(), StoreError> {
        let lock = StoreLock::wait(&self.held.files, &self.held.root)?;
        self.add(&lock, &[Leased::Blob(digest)])
    }

    /// Keeps a snapshot that is there, or is about to be.
    pub(crate) fn add_snapshot(&self, digest: &SnapshotDigest) -> Result<(), StoreError> {
        let lock = StoreLock::wait(&self.held.files, &self.held.root)?;
        self.add(&lock, &[Leased::Document((*digest).into())])
    }

    /// Adds lines while the caller holds the store's lock.
    pub(crate) fn add(&self, _lock: &StoreLock, lines: &[Leased]) -> Result<(), StoreError> {
        let text: String = lines.iter().map(|line| line.to_line()).collect();
        let mut file = self
            .held
            .file
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        file.write_all(text.as_bytes())
            .map_err(io_error("write lease", &self.held.path))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // What stays, `gc` removes: nobody holds it any more.
        if let Err(error) = self.files.remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "could not remove a lease");
        }
    }
}

impl Leased {
    fn to_line(self) -> String {
        match self {
            Self::Blob(digest) => format!("blob {digest}\n"),
            Self::Document(digest) => format!("document {digest}\n"),
        }
    }

    /// Nothing for a line that was cut off: whoever could not write it does not rely on it.
    fn parse(line: &str) -> Option<Self> {
        let (kind, digest) = line.split_once(' ')?;
        let digest = digest.parse().ok()?;
        match kind {
            "blob" => Some(Self::Blob(digest)),
            "document" => Some(Self::Document(digest)),
            _ => None,
        }
    }
}

/// All lines of leases that somebody holds; files that nobody holds are removed.
pub(crate) fn held(
    files: &Files,
    root: &Path,
    _lock: &StoreLock,
) -> Result<Vec<Leased>, StoreError> {
    let dir = root.join(LEASES);
    let mut lines = Vec::new();
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(lines),
        entries => entries.map_err(io_error("list", &dir))?,
    };
    for entry in entries {
        let entry = entry.map_err(io_error("list", &dir))?;
        let name = entry.file_name();
        if !name
            .as_encoded_bytes()
            .starts_with(STAGED_PREFIX.as_bytes())
        {
            continue;
        }
        let path = entry.path();
        match read_held(&path) {
            Ok(Some(text)) => lines.extend(text.lines().filter_map(Leased::parse)),
            Ok(None) => {
                if let Err(error) = files.remove_file(&path) {
                    tracing::debug!(path = %path.display(), %error, "could not remove a lease");
                }
            }
            // Let go since the folder was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("read lease", &path)(error)),
        }
    }
    Ok(lines)
}

/// The content of a lease that somebody holds.
fn read_held(path: &Path) -> io::Result<Option<String>> {
    let file = File::open(path)?;
    match file.try_lock() {
        Ok(()) => return Ok(None),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut text = String::new();
    if file.take(MAX_LEASE_BYTES + 1).read_to_string(&mut text)? as u64 > MAX_LEASE_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests;
