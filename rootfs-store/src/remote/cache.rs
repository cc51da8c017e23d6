//! Files that hold what was fetched of a pack, with holes for the rest.
//!
//! Such a file may be removed at any time and need not survive a crash: nothing of it is believed without its digest.
//!
//! Invariant: who may write to it holds its lock, shared, and found it in its place after that. So whoever has the lock
//! alone can make a blob of it that nobody changes any more. Who takes that lock alone holds the folder's lock until
//! the file's is theirs, or shared again: meanwhile nobody else can get it and make a blob of what they write to.
//!
//! Whoever opens the file sets a bit of its mode, which one who has it alone can take away. So they know later, when
//! they have it alone again, whether anybody else may have written to it in between.

use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::pack::len;
use super::ranges::Ranges;
use crate::files::{Files, StoreFile, parent};

/// How often a file is opened anew that was replaced meanwhile.
const TRIES: usize = 8;
/// The bit of its mode that says that somebody opened it: its owner may execute it, which nobody does.
const OPENED: u32 = 0o100;
const ALL_MODES: u32 = 0o777;

/// An open cache file.
#[derive(Debug)]
pub(super) struct CacheFile {
    file: StoreFile,
    path: PathBuf,
}

impl CacheFile {
    /// Opens the file of a pack of `bytes`, or makes it, in a folder that is there; returns what it holds, or may hold:
    /// a file system tells that in blocks.
    pub(super) fn open(files: &Files, path: &Path, bytes: u64) -> io::Result<(Self, Ranges)> {
        for _ in 0..TRIES {
            let file = match open_or_create(files, path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                opened => opened?,
            };
            // Held alone only by who makes a blob of it, which does not take long.
            file.get().lock_shared()?;
            let path = path.to_owned();
            let cache = Self { file, path };
            if !cache.is_in_place()? {
                continue;
            }
            cache.mark_opened(true)?;
            if cache.file.get().metadata()?.len() != bytes {
                cache.file.set_len(bytes)?;
            }
            let held = data(cache.file.get(), bytes)?;
            return Ok((cache, held));
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.get().read_exact_at(buffer, offset)
    }

    /// A range that is read as a whole, which is short.
    pub(super) fn read_range(&self, range: &Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len(range)];
        self.read(&mut bytes, range.start)?;
        Ok(bytes)
    }

    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// The file, to be read and written out.
    pub(super) fn get(&self) -> &File {
        self.file.get()
    }

    /// Says whether nobody else has the file open now, and will from now on remember who opens it.
    pub(super) fn watch(&self) -> io::Result<bool> {
        let _folder = self.lock_folder()?;
        let is_alone = self.try_lock()?;
        let marked = match is_alone {
            true => self.mark_opened(false),
            false => Ok(()),
        };
        // Trying may have let go of it.
        self.share()?;
        marked.map(|()| is_alone)
    }

    /// Takes the file for its only user: says whether somebody has opened it since it was watched, or nothing if others
    /// have it open now, or if it has lost its place.
    pub(super) fn take_alone(&self) -> io::Result<Option<bool>> {
        let folder = self.lock_folder()?;
        if !self.try_lock()? || !self.is_in_place()? {
            self.share()?;
            return Ok(None);
        }
        drop(folder);
        Ok(Some(self.mode()? & OPENED != 0))
    }

    /// Lets others use the file again; whether it still is in its place, so that it may be written to.
    pub(super) fn release(&self) -> io::Result<bool> {
        self.share()?;
        self.is_in_place()
    }

    /// Makes the file, which is complete and was taken alone, a durable blob: it only lacks its name then.
    pub(super) fn become_blob(&self) -> io::Result<()> {
        self.file.set_mode(0o444)?;
        self.file.sync_all()
    }

    fn share(&self) -> io::Result<()> {
        self.file.get().lock_shared()
    }

    fn try_lock(&self) -> io::Result<bool> {
        match self.file.get().try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Held while the file's lock may be taken alone.
    fn lock_folder(&self) -> io::Result<File> {
        let folder = File::open(parent(&self.path))?;
        folder.lock()?;
        Ok(folder)
    }

    fn mark_opened(&self, is_opened: bool) -> io::Result<()> {
        let mode = self.mode()?;
        self.file.set_mode(match is_opened {
            true => mode | OPENED,
            false => mode & !OPENED,
        })
    }

    fn mode(&self) -> io::Result<u32> {
        Ok(self.file.get().metadata()?.mode() & ALL_MODES)
    }

    /// Whether the path leads to this very file.
    fn is_in_place(&self) -> io::Result<bool> {
        let inode = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let held = inode(self.file.get().metadata()?);
        match self.path.symlink_metadata() {
            Ok(there) => Ok(inode(there) == held),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn open_or_create(files: &Files, path: &Path) -> io::Result<StoreFile> {
    match files.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => files.create(path),
        // Who was about to make a blob of it was killed.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
            files.open(path)
        }
        opened => opened,
    }
}

/// The ranges of a file that are no holes.
fn data(file: &File, bytes: u64) -> io::Result<Ranges> {
    let mut found = Ranges::default();
    let mut at = 0;
    while at < bytes {
        let range = match data_from(file, at) {
            Ok(Some(range)) => range,
            Ok(None) => break,
            // Where holes can't be told, nothing is known.
            Err(Errno::INVAL | Errno::NOTSUP) => break,
            Err(errno) => return Err(errno.into()),
        };
        let end = range.end.min(bytes);
        found.insert(range.start..end);
        at = end.max(at + 1);
    }
    Ok(found)
}

fn data_from(file: &File, at: u64) -> Result<Option<Range<u64>>, Errno> {
    let start = match seek(file, SeekFrom::Data(at)) {
        Err(Errno::NXIO) => return Ok(None),
        found => found?,
    };
    match seek(file, SeekFrom::Hole(start)) {
        Err(Errno::NXIO) => Ok(None),
        found => Ok(Some(start..found?.max(start + 1))),
    }
}
