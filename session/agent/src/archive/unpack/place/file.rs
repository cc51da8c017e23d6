//! Files, and further names of files.
//!
//! Invariant: a file has no name but a temporary one before it is complete.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat};
use nix::unistd::{fchown, linkat};

use super::super::super::ArchiveError;
use super::super::super::name::Name;
use super::super::entry::Entry;
use super::links::Unreached;
use super::{Place, again, set_modified, temporary};

/// A file that is being made; dropping it unfinished leaves nothing.
#[derive(Debug)]
pub(in super::super) struct NewFile<'n> {
    file: File,
    temporary: temporary::Made,
    /// What it shall be called.
    name: &'n OsStr,
}

impl NewFile<'_> {
    pub(in super::super) fn file(&self) -> &File {
        &self.file
    }
}

impl Place {
    /// Makes an empty file, which has no name of its own before it is finished.
    pub(in super::super) fn new_file<'n>(
        &mut self,
        at: &'n Name,
        entry: &Entry,
    ) -> Result<NewFile<'n>, ArchiveError> {
        let (temporary, name) = self.place(at, &entry.name)?;
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let how = OpenHow::new()
            .flags(flags)
            .mode(Mode::S_IRUSR | Mode::S_IWUSR)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let file = again(|| openat2(temporary.parent(), temporary.name(), how));
        let file = File::from(file.map_err(ArchiveError::entry("make", &entry.name))?);
        Ok(NewFile {
            file,
            temporary: temporary.made(),
            name,
        })
    }

    /// Gives a file that was written its owner, permissions and time, in this order: each undoes a part of the next.
    /// Then it replaces what has its name.
    pub(in super::super) fn finish_file(
        &mut self,
        new: NewFile<'_>,
        entry: &Entry,
    ) -> Result<(), ArchiveError> {
        let NewFile {
            file,
            temporary,
            name,
        } = new;
        let data = fstat(&file).map_err(ArchiveError::entry("examine", &entry.name))?;
        let finish = || {
            if let Some((uid, gid)) = self.owner(Some(entry))
                && (data.st_uid, data.st_gid) != (uid.as_raw(), gid.as_raw())
            {
                fchown(&file, Some(uid), Some(gid))?;
            }
            fchmod(&file, self.mode(entry))?;
            set_modified(&file, entry.modified)
        };
        finish().map_err(ArchiveError::entry(
            "set the owner and permissions of",
            &entry.name,
        ))?;
        let placed = temporary.become_known(name);
        placed.map_err(ArchiveError::entry("replace", &entry.name))?;
        self.made.insert(identity(&data));
        Ok(())
    }

    pub(in super::super) fn hard_link(
        &mut self,
        at: &Name,
        entry: &Entry,
        target: &Name,
    ) -> Result<(), ArchiveError> {
        const DOING: &str = "make the hard link";
        let failed = || ArchiveError::entry(DOING, &entry.name);
        let file = self
            .open(&target.path(), OFlag::O_PATH | OFlag::O_NOFOLLOW)
            .map_err(Unreached::when(DOING, &entry.name))?;
        if !self
            .made
            .contains(&identity(&fstat(&file).map_err(failed())?))
        {
            let problem = "is a hard link to something that this stream did not make";
            return Err(ArchiveError::refused(&entry.name, problem));
        }
        let (temporary, name) = self.place(at, &entry.name)?;
        // The very file that was looked at, whatever has its name now.
        let itself = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let (parent, new) = (temporary.parent(), temporary.name());
        linkat(AT_FDCWD, &itself, parent, new, AtFlags::AT_SYMLINK_FOLLOW).map_err(failed())?;
        temporary.made().become_another(name).map_err(failed())
    }
}

/// Device and inode.
fn identity(data: &FileStat) -> (u64, u64) {
    (data.st_dev, data.st_ino)
}
