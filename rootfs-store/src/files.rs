//! Every change to a store's folder goes through here, where a test can see it, refuse it, or end the world after it.
//!
//! Invariant: nothing else in this crate creates, writes, syncs, renames or removes what lies below a store's root.
//! (A disk's writes may be done by the [`WriteFrom`] that they come from, on the open file.
//! What lies elsewhere does not count: exported disks, and spools, which have no name. Nor do modes and times, what
//! is left in `staging` when a staged file or folder is dropped, and syncs of a blob that come before the one that it
//! needs.)

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, fallocate};
use tempfile::{Builder, NamedTempFile, TempDir};

use crate::disk::WriteFrom;

/// How everything in a store's `staging` that is ours begins.
pub(crate) const STAGED_PREFIX: &str = "vms-";

/// An open file, different for each time that one is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(u64);

/// One change to the store's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change<'a> {
    /// A file that was not there is made and opened.
    Create {
        /// The open file.
        file: FileId,
        /// Its name.
        path: &'a Path,
    },
    /// A file that is there is opened to be changed.
    Open {
        /// The open file.
        file: FileId,
        /// Its name.
        path: &'a Path,
    },
    /// Bytes are written.
    Write {
        /// The open file.
        file: FileId,
        /// Where the first byte goes.
        offset: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// A file gets a length; what is new reads as zeros.
    SetLen {
        /// The open file.
        file: FileId,
        /// The length in bytes.
        len: u64,
    },
    /// A range becomes a hole, which reads as zeros.
    PunchHole {
        /// The open file.
        file: FileId,
        /// The bytes.
        range: Range<u64>,
    },
    /// All that was written to a file so far becomes durable.
    Sync {
        /// The open file.
        file: FileId,
    },
    /// A folder is made.
    CreateDir {
        /// Its name.
        path: &'a Path,
    },
    /// A file or folder gets another name, in the place of what had it.
    Rename {
        /// The old name.
        from: &'a Path,
        /// The new name.
        to: &'a Path,
    },
    /// A file loses its name.
    RemoveFile {
        /// The name.
        path: &'a Path,
    },
    /// A folder and all in it is removed.
    RemoveDir {
        /// Its name.
        path: &'a Path,
    },
    /// The names in a folder become durable.
    SyncDir {
        /// Its name.
        path: &'a Path,
    },
}

/// Told of every change before it is made, from whichever thread makes it.
pub trait Watch: std::fmt::Debug + Send + Sync {
    /// Lets the change be made, or refuses it with an error that its caller gets as if it came from the system.
    ///
    /// # Errors
    /// Any that the change could fail with.
    fn change(&self, change: &Change<'_>) -> io::Result<()>;
}

/// Makes changes, and tells of them before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    watch: Option<Arc<dyn Watch>>,
}

impl Files {
    pub(crate) fn watched_by(watch: Arc<dyn Watch>) -> Self {
        Self { watch: Some(watch) }
    }

    fn tell(&self, change: &Change<'_>) -> io::Result<()> {
        match &self.watch {
            Some(watch) => watch.change(change),
            None => Ok(()),
        }
    }

    /// Makes a file that must not be there yet.
    pub(crate) fn create(&self, path: &Path) -> io::Result<StoreFile> {
        let file = next_id();
        self.tell(&Change::Create { file, path })?;
        let mut options = OpenOptions::new();
        options.create_new(true).read(true).write(true);
        Ok(self.store_file(file, options.open(path)?))
    }

    /// Makes a file in `staging` that is removed when it is dropped, unless [`Self::keep`] gives it a name.
    pub(crate) fn stage(&self, staging: &Path) -> io::Result<NamedTempFile<StoreFile>> {
        Builder::new()
            .prefix(STAGED_PREFIX)
            .make_in(staging, |path| self.create(path))
    }

    /// Gives a staged file its name, in the place of what had it.
    pub(crate) fn keep(&self, staged: NamedTempFile<StoreFile>, to: &Path) -> io::Result<()> {
        let from = staged.into_temp_path();
        self.tell(&Change::Rename { from: &from, to })?;
        from.persist(to).map_err(|error| error.error)
    }

    /// Opens a file to be read and changed.
    pub(crate) fn open(&self, path: &Path) -> io::Result<StoreFile> {
        let file = next_id();
        self.tell(&Change::Open { file, path })?;
        let opened = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(self.store_file(file, opened))
    }

    /// Opens an empty file that only serves to be locked, or makes it.
    pub(crate) fn open_lock(&self, path: &Path) -> io::Result<File> {
        match OpenOptions::new().write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match self.create(path) {
                // Another process was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    OpenOptions::new().write(true).open(path)
                }
                made => made.map(|made| made.file),
            },
            opened => opened,
        }
    }

    /// Makes a folder that must not be there yet.
    pub(crate) fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.tell(&Change::CreateDir { path })?;
        fs::create_dir(path)
    }

    /// Makes a folder in `staging` that is removed when it is dropped.
    pub(crate) fn stage_dir(&self, staging: &Path) -> io::Result<TempDir> {
        let dir = Builder::new().prefix(STAGED_PREFIX).tempdir_in(staging)?;
        self.tell(&Change::CreateDir { path: dir.path() })?;
        Ok(dir)
    }

    /// Gives a file or folder another name, in the place of what had it.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.tell(&Change::Rename { from, to })?;
        fs::rename(from, to)
    }

    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.tell(&Change::RemoveFile { path })?;
        fs::remove_file(path)
    }

    /// Removes a folder and all in it.
    pub(crate) fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.tell(&Change::RemoveDir { path })?;
        fs::remove_dir_all(path)
    }

    /// Makes the names in a folder durable.
    pub(crate) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.tell(&Change::SyncDir { path })?;
        File::open(path)?.sync_all()
    }

    fn store_file(&self, id: FileId, file: File) -> StoreFile {
        StoreFile {
            files: self.clone(),
            id,
            file,
            position: 0,
        }
    }
}

/// A file of the store that may be changed.
#[derive(Debug)]
pub(crate) struct StoreFile {
    files: Files,
    id: FileId,
    file: File,
    /// Where [`Write::write`] goes on.
    position: u64,
}

impl StoreFile {
    /// The file, to be read, locked or inspected.
    pub(crate) fn get(&self) -> &File {
        &self.file
    }

    pub(crate) fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let file = self.id;
        self.files.tell(&Change::Write {
            file,
            offset,
            bytes,
        })?;
        self.file.write_all_at(bytes, offset)
    }

    /// Writes the next `len` bytes of `source`. Who watches is shown a copy, which is then what is written.
    pub(crate) fn write_from(
        &self,
        source: &mut dyn WriteFrom,
        offset: u64,
        len: usize,
    ) -> io::Result<()> {
        if self.files.watch.is_none() {
            let before = source.remaining();
            source.write_to_file(&self.file, offset, len)?;
            // What is taken for written may be named so for good.
            return match source.remaining().checked_add(len) == Some(before) {
                true => Ok(()),
                false => Err(io::ErrorKind::WriteZero.into()),
            };
        }
        let mut bytes = vec![0; len];
        source.take(&mut bytes)?;
        self.write_all_at(&bytes, offset)
    }

    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        let file = self.id;
        self.files.tell(&Change::SetLen { file, len })?;
        self.file.set_len(len)
    }

    /// Makes a range a hole; [`io::ErrorKind::Unsupported`] where the file system has none.
    pub(crate) fn punch_hole(&self, range: Range<u64>) -> io::Result<()> {
        let (start, len) = (range.start, range.end - range.start);
        let file = self.id;
        self.files.tell(&Change::PunchHole { file, range })?;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&self.file, flags, start, len).map_err(Into::into)
    }

    /// Makes all that was written durable, and the file's length.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        self.files.tell(&Change::Sync { file: self.id })?;
        self.file.sync_data()
    }

    /// As [`Self::sync_data`], and the file's mode and times.
    pub(crate) fn sync_all(&self) -> io::Result<()> {
        self.files.tell(&Change::Sync { file: self.id })?;
        self.file.sync_all()
    }

    /// Sets who may do what with the file: the last nine bits of its mode.
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.file.set_permissions(fs::Permissions::from_mode(mode))
    }
}

impl Write for StoreFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all_at(bytes, self.position)?;
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn next_id() -> FileId {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    FileId(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The folder that `path` is in.
pub(crate) fn parent(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}
