//! Disks in the store: made, opened and removed.
//!
//! Invariant: a folder in `disks` is a whole disk. It is made in `staging`, and goes there again to be removed.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::map::Header;
use super::overlay::{Overlay, io_error};
use super::{DiskError, WritableDisk};
use crate::blobs::sync_dir;
use crate::digest::SnapshotDigest;
use crate::store::Store;

const DISKS: &str = "disks";
/// Longest name of a disk, in bytes.
const MAX_ID_LEN: usize = 64;

impl Store {
    /// Makes the disk `id`, which begins as `base`, durably.
    ///
    /// # Errors
    /// [`DiskError::Exists`], [`DiskError::BadId`], or what reading the base gives; nothing is left behind.
    pub fn create_disk(&self, id: &str, base: &SnapshotDigest) -> Result<WritableDisk, DiskError> {
        let place = self.disk_dir(id)?;
        let snapshot = self.snapshot(base)?;
        let disks = self.dir().join(DISKS);
        fs::create_dir_all(&disks).map_err(io_error("create", &disks))?;
        let staging = self.blobs().staging();
        let dir = tempfile::tempdir_in(staging).map_err(io_error("create a folder in", staging))?;
        Overlay::create(
            dir.path(),
            Header {
                disk_bytes: snapshot.disk_bytes,
                base: *base,
            },
        )?;
        match fs::rename(dir.path(), &place) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                return Err(DiskError::Exists { id: id.to_owned() });
            }
            Err(error) => return Err(io_error("create", &place)(error)),
        }
        sync_dir(&disks)?;
        self.open_disk(id)
    }

    /// Opens the disk `id`, which holds at least all that was flushed to it.
    ///
    /// # Errors
    /// [`DiskError::NotFound`], [`DiskError::InUse`], or what reading it or its base gives.
    pub fn open_disk(&self, id: &str) -> Result<WritableDisk, DiskError> {
        let dir = self.existing_disk(id)?;
        let (overlay, header) = Overlay::open(&dir, id)?;
        let base = self.snapshot(&header.base)?;
        if base.disk_bytes != header.disk_bytes {
            return Err(DiskError::SizeMismatch {
                id: id.to_owned(),
                disk_bytes: header.disk_bytes,
                base_bytes: base.disk_bytes,
            });
        }
        Ok(WritableDisk {
            store: Arc::clone(&self.inner),
            base: header.base,
            index: base.index(),
            chunk_bytes: base.chunk_bytes,
            size: header.disk_bytes,
            overlay,
        })
    }

    /// Removes the disk `id`, durably; does nothing if there is none.
    ///
    /// # Errors
    /// [`DiskError::InUse`] if it is open; others if the operating system refuses.
    pub fn remove_disk(&self, id: &str) -> Result<(), DiskError> {
        let dir = match self.existing_disk(id) {
            Ok(dir) => dir,
            Err(DiskError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        // A disk that can't be read can be removed all the same.
        if let Err(error @ DiskError::InUse { .. }) = Overlay::open(&dir, id) {
            return Err(error);
        }
        let staging = self.blobs().staging();
        let grave =
            tempfile::tempdir_in(staging).map_err(io_error("create a folder in", staging))?;
        fs::rename(&dir, grave.path()).map_err(io_error("remove", &dir))?;
        Ok(sync_dir(&self.dir().join(DISKS))?)
    }

    /// Whether there is a disk `id`.
    #[must_use]
    pub fn disk_exists(&self, id: &str) -> bool {
        self.existing_disk(id).is_ok()
    }

    fn existing_disk(&self, id: &str) -> Result<PathBuf, DiskError> {
        let dir = self.disk_dir(id)?;
        match dir.is_dir() {
            true => Ok(dir),
            false => Err(DiskError::NotFound { id: id.to_owned() }),
        }
    }

    fn disk_dir(&self, id: &str) -> Result<PathBuf, DiskError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let good = id.len() <= MAX_ID_LEN
            && id.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && id.bytes().all(allowed);
        match good {
            true => Ok(self.dir().join(DISKS).join(id)),
            false => Err(DiskError::BadId { id: id.to_owned() }),
        }
    }
}
