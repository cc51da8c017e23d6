//! Symbolic links on the way to what is made.
//!
//! Invariant: a link is followed only if it belongs to whoever unpacks, and never out of the folder.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::geteuid;

use super::again;
use crate::archive::ArchiveError;
use crate::way::Way;

/// Which links that are there are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Links {
    /// None.
    None,
    /// Those of whoever unpacks that are relative and stay inside.
    Own,
    /// Those of whoever unpacks; the folder is the root to them.
    OwnFromRoot,
}

/// Why a path can't be opened.
#[derive(Debug)]
pub(super) enum Unreached {
    System(Errno),
    /// Something is wrong with a link on the way.
    Link(&'static str),
}

impl From<Errno> for Unreached {
    fn from(error: Errno) -> Self {
        Self::System(error)
    }
}

impl Unreached {
    /// For `map_err`: what was being done, and to what.
    pub(super) fn when(action: &'static str, shown: &[u8]) -> impl FnOnce(Self) -> ArchiveError {
        move |error| match error {
            Self::System(error) => ArchiveError::entry(action, shown)(error),
            Self::Link(problem) => ArchiveError::refused(shown, problem),
        }
    }
}

/// Opens what is at `path` in `folder`. The last part may be a link if `flags` say that it is not followed.
pub(super) fn open(
    folder: &OwnedFd,
    path: &Path,
    flags: OFlag,
    links: Links,
) -> Result<OwnedFd, Unreached> {
    let flags = flags | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(
        ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS,
    );
    match again(|| openat2(folder, path, how)) {
        Err(Errno::ELOOP) if links != Links::None => walk(folder, path, flags, links),
        opened => Ok(opened?),
    }
}

/// The same, part by part.
fn walk(folder: &OwnedFd, path: &Path, flags: OFlag, links: Links) -> Result<OwnedFd, Unreached> {
    const LEADS_OUT: Unreached =
        Unreached::Link("is behind a symbolic link that leads out of the folder");
    const ABSOLUTE: Unreached =
        Unreached::Link("is behind a symbolic link that begins at the root, not in the folder");
    const OF_OTHERS: Unreached = Unreached::Link("is behind a symbolic link of another user's");
    let mut way = Way::along(path);
    let mut above = vec![folder.try_clone().map_err(errno)?];
    while let Some(part) = way.step() {
        if part == ".." {
            match above.len() {
                1 if links == Links::Own => return Err(LEADS_OUT),
                1 => {}
                _ => drop(above.pop()),
            }
            continue;
        }
        let parent = above.last().unwrap_or(folder);
        let itself = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let found = openat(parent, part.as_os_str(), itself, Mode::empty())?;
        let data = fstat(&found)?;
        if data.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFLNK.bits() {
            if way.is_at_end() {
                let flags = flags | OFlag::O_NOFOLLOW;
                return Ok(openat(parent, part.as_os_str(), flags, Mode::empty())?);
            }
            if data.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFDIR.bits() {
                return Err(Errno::ENOTDIR.into());
            }
            above.push(found);
            continue;
        }
        if way.is_at_end() && flags.contains(OFlag::O_NOFOLLOW) {
            return match flags.contains(OFlag::O_PATH) {
                true => Ok(found),
                false => Err(Errno::ELOOP.into()),
            };
        }
        if data.st_uid != geteuid().as_raw() {
            return Err(OF_OTHERS);
        }
        let target = readlinkat(&found, "")?;
        if Path::new(&target).is_absolute() {
            if links == Links::Own {
                return Err(ABSOLUTE);
            }
            above.truncate(1);
        }
        way.follow(Path::new(&target)).map_err(errno)?;
    }
    // Where a link led to a folder above.
    let folder = above.last().unwrap_or(folder);
    Ok(openat(folder, ".", flags, Mode::empty())?)
}

fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
