//! Disks in the store: made, opened and removed.
//!
//! Invariant: a folder in `disks` is a whole disk. It is made in `staging`, and goes there again to be removed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use arc_swap::ArcSwap;

use super::generations::{self, lock};
use super::map::Header;
use super::overlay::{Number, Overlay, io_error};
use super::recording::Recording;
use super::trouble::TroubleLog;
use super::{Base, DiskError, Stack, WritableDisk};
use crate::blobs::{create_dir, sync_dir};
use crate::digest::SnapshotDigest;
use crate::manifest::Snapshot;
use crate::store::{Store, StoreError};

/// The names and folders of disks, and the paths of what is none.
type DiskEntries = (Vec<(String, PathBuf)>, Vec<PathBuf>);

const DISKS: &str = "disks";
/// Longest name of a disk, in bytes.
const MAX_ID_LEN: usize = 80;

impl Store {
    /// Makes the disk `id`, which begins as `base`, durably.
    ///
    /// # Errors
    /// [`DiskError::Exists`], [`DiskError::BadId`], or what reading the base gives; nothing is left behind.
    pub fn create_disk(&self, id: &str, base: &SnapshotDigest) -> Result<WritableDisk, DiskError> {
        let place = self.disk_dir(id)?;
        // Until the disk is in its place, where it keeps its base itself.
        let lease = self.lease()?;
        let snapshot = self.keep_under(&lease, base)?;
        let files = self.blobs().files();
        create_dir(files, self.dir(), DISKS)?;
        let staged = self.blobs().staged_dir()?;
        let header = Header {
            disk_bytes: snapshot.disk_bytes,
            base: *base,
            over_previous: false,
        };
        Overlay::create(files, staged.path(), Number(0), header)?;
        // Locked before it can be seen, so that nobody else gets it.
        let folder = lock(staged.path(), id)?;
        let (overlay, _) = Overlay::open(files, staged.path(), Number(0))?;
        match files.rename(staged.path(), &place) {
            Ok(()) => {}
            Err(error) if is_taken(error.kind()) => {
                return Err(DiskError::Exists { id: id.to_owned() });
            }
            Err(error) => return Err(io_error("create", &place)(error)),
        }
        if let Err(error) = sync_dir(files, &self.dir().join(DISKS)) {
            // Out of the way again, so that it can be tried again.
            if let Err(error) = files.rename(&place, staged.path()) {
                tracing::warn!(path = %place.display(), %error, "could not take a disk back");
            }
            return Err(error.into());
        }
        let overlay = overlay.at(place.clone());
        Ok(self.disk(&snapshot, place, folder, vec![overlay]))
    }

    /// Opens the disk `id`, which holds at least all that was flushed to it. What more it holds, written by a process
    /// that was killed, the next flush makes durable.
    ///
    /// # Errors
    /// [`DiskError::NotFound`], [`DiskError::InUse`], or what reading it or its base gives.
    pub fn open_disk(&self, id: &str) -> Result<WritableDisk, DiskError> {
        let dir = self.existing_disk(id)?;
        let folder = lock(&dir, id)?;
        let files = self.blobs().files();
        // Who made the disk may have been killed before its name was durable.
        sync_dir(files, &self.dir().join(DISKS))?;
        let (overlays, header) = generations::open(files, &dir)?;
        let base = self.snapshot(&header.base)?;
        if base.disk_bytes != header.disk_bytes {
            return Err(DiskError::SizeMismatch {
                id: id.to_owned(),
                disk_bytes: header.disk_bytes,
                base_bytes: base.disk_bytes,
            });
        }
        Ok(self.disk(&base, dir, folder, overlays))
    }

    fn disk(
        &self,
        base: &Snapshot,
        dir: PathBuf,
        folder: File,
        overlays: Vec<Overlay>,
    ) -> WritableDisk {
        let stack = Stack {
            base: Base::of(base),
            overlays: overlays.into_iter().map(Arc::new).collect(),
        };
        WritableDisk {
            store: Arc::clone(&self.inner),
            dir,
            _folder: folder,
            size: base.disk_bytes,
            stack: ArcSwap::from_pointee(stack),
            writing: RwLock::default(),
            committing: Mutex::default(),
            profile: Mutex::default(),
            recording: Recording::default(),
            trouble: TroubleLog::default(),
        }
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
        let files = self.blobs().files();
        // Held until the disk is out of the way, so that nobody opens it meanwhile.
        let _lock = match lock(&dir, id) {
            Err(DiskError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(());
            }
            lock => lock?,
        };
        let grave = self.blobs().staged_dir()?;
        files
            .rename(&dir, grave.path())
            .map_err(io_error("remove", &dir))?;
        sync_dir(files, &self.dir().join(DISKS))?;
        // From here on it is a leftover at the worst, which is removed later.
        files
            .remove_dir_all(grave.path())
            .map_err(io_error("remove", grave.path()))
    }

    /// Makes durable which disks there are, and what they are made of.
    pub(crate) fn settle_disks(&self) -> Result<(), DiskError> {
        let files = self.blobs().files();
        let disks = self.disk_dirs()?;
        for (_, dir) in &disks {
            match generations::settle(files, dir) {
                // Removed since the folder was listed.
                Err(_) if matches!(fs::exists(dir), Ok(false)) => {}
                settled => settled?,
            }
        }
        let dir = self.dir().join(DISKS);
        match is_dir(&dir)? {
            true => Ok(sync_dir(files, &dir)?),
            false => Ok(()),
        }
    }

    /// The names and folders of all disks, sorted.
    ///
    /// # Errors
    /// [`StoreError::NoDisk`] if there is anything else: it may be a disk that can't be read.
    pub(crate) fn disk_dirs(&self) -> Result<Vec<(String, PathBuf)>, StoreError> {
        let (dirs, others) = self.disk_entries()?;
        match others.into_iter().next() {
            Some(path) => Err(StoreError::NoDisk { path }),
            None => Ok(dirs),
        }
    }

    /// As [`Self::disk_dirs`], with all that is no folder called like a disk.
    pub(crate) fn disk_entries(&self) -> Result<DiskEntries, StoreError> {
        let disks = self.dir().join(DISKS);
        let error = || crate::blobs::io_error("list", &disks);
        let (mut dirs, mut others) = (Vec::new(), Vec::new());
        if !is_dir(&disks)? {
            return Ok((dirs, others));
        }
        for entry in fs::read_dir(&disks).map_err(error())? {
            let entry = entry.map_err(error())?;
            let path = entry.path();
            let id = entry.file_name().into_string();
            match (id, is_dir(&path)) {
                (Ok(id), Ok(true)) => dirs.push((id, path)),
                // Removed since the folder was listed.
                (_, Ok(false)) => {}
                (Err(_), Ok(true)) | (_, Err(StoreError::NoDisk { .. })) => others.push(path),
                (_, Err(error)) => return Err(error),
            }
        }
        dirs.sort();
        others.sort();
        Ok((dirs, others))
    }

    /// The names of all disks, sorted.
    ///
    /// # Errors
    /// [`DiskError::Store`] if their folder can't be read.
    pub fn disk_ids(&self) -> Result<Vec<String>, DiskError> {
        let (dirs, _) = self.disk_entries()?;
        Ok(dirs.into_iter().map(|(id, _)| id).collect())
    }

    /// Whether there is a disk `id`.
    #[must_use]
    pub fn disk_exists(&self, id: &str) -> bool {
        self.existing_disk(id).is_ok()
    }

    fn existing_disk(&self, id: &str) -> Result<PathBuf, DiskError> {
        let dir = self.disk_dir(id)?;
        match is_dir(&dir)? {
            true => Ok(dir),
            false => Err(DiskError::NotFound { id: id.to_owned() }),
        }
    }

    fn disk_dir(&self, id: &str) -> Result<PathBuf, DiskError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'@');
        let good = id.len() <= MAX_ID_LEN
            && id.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && id.bytes().all(allowed);
        match good {
            true => Ok(self.dir().join(DISKS).join(id)),
            false => Err(DiskError::BadId { id: id.to_owned() }),
        }
    }
}

/// Whether there is a folder; anything else, or a link to one, is an error.
fn is_dir(path: &Path) -> Result<bool, StoreError> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(true),
        Ok(_) => Err(StoreError::NoDisk {
            path: path.to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(crate::blobs::io_error("inspect", path)(error)),
    }
}

/// File systems differ in what they say about a folder that is not empty.
fn is_taken(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
    )
}
