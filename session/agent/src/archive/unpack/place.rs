//! The folder that is unpacked into.
//!
//! Invariant: every path is resolved from the folder, by rules that keep it beneath; what is made gets its name by a call
//! that follows no link, and its owner by a descriptor.

mod file;
mod folder;
mod links;
mod temporary;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat, futimens, mkdirat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat, geteuid, symlinkat};

use super::super::ArchiveError;
use super::super::name::{self, Name};
use super::Ownership;
use super::entry::Entry;
use folder::Waiting;
pub(super) use links::Links;
use links::Unreached;
use temporary::Temporary;

#[derive(Debug)]
pub(super) struct Place {
    folder: OwnedFd,
    links: Links,
    ownership: Ownership,
    /// The folder that was used last.
    parent: Option<(PathBuf, Rc<OwnedFd>)>,
    /// What names are made of that are only had for a while.
    temporary: temporary::Names,
    /// Device and inode of each file that was made.
    made: HashSet<(u64, u64)>,
    /// New folders, which get their permissions and times when they are filled.
    waiting: Vec<Waiting>,
    waiting_bytes: usize,
}

impl Place {
    pub(super) fn new(folder: OwnedFd, links: Links, ownership: Ownership) -> Self {
        Self {
            folder,
            links,
            ownership,
            parent: None,
            temporary: temporary::Names::new(),
            made: HashSet::new(),
            waiting: Vec::new(),
            waiting_bytes: 0,
        }
    }

    pub(super) fn top(&self) -> &OwnedFd {
        &self.folder
    }

    /// Opens what is beneath the folder.
    fn open(&self, path: &Path, flags: OFlag) -> Result<OwnedFd, Unreached> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        links::open(&self.folder, path, flags, self.links)
    }

    /// The folder `path`, which is made if it is missing.
    fn parent(&mut self, path: PathBuf, shown: &[u8]) -> Result<Rc<OwnedFd>, ArchiveError> {
        if let Some((last, opened)) = &self.parent
            && *last == path
        {
            return Ok(Rc::clone(opened));
        }
        let opened = match self.open_folder(&path) {
            Err(Unreached::System(Errno::ENOENT)) => self.make_all(&path),
            opened => opened,
        };
        let opened = Rc::new(opened.map_err(Unreached::when("reach the folder of", shown))?);
        self.parent = Some((path, Rc::clone(&opened)));
        Ok(opened)
    }

    fn open_folder(&self, path: &Path) -> Result<OwnedFd, Unreached> {
        self.open(path, OFlag::O_PATH | OFlag::O_DIRECTORY)
    }

    fn make_all(&self, path: &Path) -> Result<OwnedFd, Unreached> {
        let mut above = self.open_folder(Path::new(""))?;
        for step in name::steps(path) {
            above = match self.open_folder(&step) {
                Err(Unreached::System(Errno::ENOENT)) => {
                    let name = step.file_name().unwrap_or_default();
                    match mkdirat(&above, name, Mode::from_bits_truncate(0o755)) {
                        Ok(()) => self.own_new(&above, name, SFlag::S_IFDIR, None)?,
                        Err(Errno::EEXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    self.open_folder(&step)?
                }
                opened => opened?,
            };
        }
        Ok(above)
    }

    /// Gives what was just made at `name` to whom it belongs, if nobody has put something else there meanwhile.
    fn own_new(
        &self,
        parent: &OwnedFd,
        name: &OsStr,
        kind: SFlag,
        entry: Option<&Entry>,
    ) -> nix::Result<()> {
        let Some((uid, gid)) = self.owner(entry) else {
            return Ok(());
        };
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH);
        let made = again(|| openat2(parent, name, how))?;
        let data = fstat(&made)?;
        if data.st_mode & SFlag::S_IFMT.bits() != kind.bits() || data.st_uid != geteuid().as_raw() {
            return Err(Errno::ESTALE);
        }
        let itself = AtFlags::AT_EMPTY_PATH | AtFlags::AT_SYMLINK_NOFOLLOW;
        fchownat(&made, "", Some(uid), Some(gid), itself)
    }

    fn owner(&self, entry: Option<&Entry>) -> Option<(Uid, Gid)> {
        let (uid, gid) = match (self.ownership, entry) {
            (Ownership::Unpacker, _) | (Ownership::Stream, None) => return None,
            (Ownership::Fixed { uid, gid }, _) => (uid, gid),
            (Ownership::Stream, Some(entry)) => (entry.uid, entry.gid),
        };
        Some((Uid::from_raw(uid), Gid::from_raw(gid)))
    }

    fn mode(&self, entry: &Entry) -> Mode {
        let kept = match self.ownership {
            Ownership::Unpacker => 0o777,
            Ownership::Fixed { .. } | Ownership::Stream => 0o7777,
        };
        Mode::from_bits_truncate(entry.mode & kept)
    }

    /// The place of an entry, where a folder must not be, with a name for the time in which it is being made.
    fn place<'n>(
        &mut self,
        at: &'n Name,
        shown: &[u8],
    ) -> Result<(Temporary, &'n OsStr), ArchiveError> {
        let Some((parents, name)) = at.split() else {
            return Err(ArchiveError::refused(shown, "has no name"));
        };
        let parent = self.parent(parents, shown)?;
        let found = fstatat(&parent, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        if found.is_ok_and(|data| data.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits()) {
            return Err(ArchiveError::entry("replace", shown)(Errno::EISDIR));
        }
        Ok((self.temporary.next(parent), name))
    }

    pub(super) fn symlink(
        &mut self,
        at: &Name,
        entry: &Entry,
        target: &[u8],
    ) -> Result<(), ArchiveError> {
        let (temporary, name) = self.place(at, &entry.name)?;
        let made = symlinkat(
            OsStr::from_bytes(target),
            temporary.parent(),
            temporary.name(),
        );
        made.map_err(ArchiveError::entry("make the link", &entry.name))?;
        let temporary = temporary.made();
        self.own_new(
            temporary.parent(),
            temporary.name(),
            SFlag::S_IFLNK,
            Some(entry),
        )
        .map_err(ArchiveError::entry("set the owner of", &entry.name))?;
        let placed = temporary.become_known(name);
        placed.map_err(ArchiveError::entry("replace", &entry.name))
    }
}

fn set_modified(file: impl AsFd, seconds: i64) -> nix::Result<()> {
    let time = TimeSpec::new(seconds, 0);
    futimens(file, &time, &time)
}

/// Resolving beneath a folder fails with EAGAIN while others rename folders on the way.
fn again<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    /// How often it is tried again.
    const TRIES: usize = 32;
    for _ in 0..TRIES {
        match call() {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            result => return result,
        }
    }
    call()
}
