//! Reading and changing files of the guest, without being led astray.
//!
//! A guest's users can put symbolic links where the agent is about to write as root. So each path is walked part by
//! part, from a directory that stands for the root.
//!
//! Invariant: a symbolic link is followed only if it is root's own, and never out of the root. What already is as it
//! shall be is not written.

mod attributes;
mod place;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use agent::way::Way;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstatat};
use nix::unistd::{Uid, UnlinkatFlags, geteuid, symlinkat, unlinkat};

pub(in crate::guest) use attributes::{Attributes, Kind};
use place::{Place, chown_link, make_directory, read_at, replace, set_attributes};

/// The directory that paths begin in.
#[derive(Debug)]
pub(in crate::guest) struct Root {
    top: OwnedFd,
    /// Whose links are followed.
    trusted: Uid,
}

/// An entry of a directory that is there.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: OsString,
    pub(super) kind: Kind,
    pub(super) attributes: Attributes,
}

/// What becomes of directories on the way that are missing.
#[derive(Debug, Clone, Copy)]
enum Missing {
    Fail,
    Make(Attributes),
}

/// Where a way ends.
#[derive(Debug)]
enum End {
    Place(Place),
    /// At a directory that has been entered already, as after `..`.
    Inside(OwnedFd),
}

/// What becomes of a symbolic link at the end of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Follow,
    Stay,
}

impl Root {
    /// The root in `path`.
    pub(in crate::guest) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            top: OwnedFd::from(File::open(path)?),
            trusted: geteuid(),
        })
    }

    fn walk(&self, path: &str, missing: Missing, last: Last) -> io::Result<Place> {
        match self.go(path, missing, last)? {
            End::Place(place) => Ok(place),
            End::Inside(_) => Err(Errno::EISDIR.into()),
        }
    }

    fn go(&self, path: &str, missing: Missing, last: Last) -> io::Result<End> {
        let mut way = Way::along(Path::new(path));
        let mut above = vec![self.top.try_clone()?];
        while let Some(part) = way.step() {
            let parent = above.last().unwrap_or(&self.top);
            if part == ".." {
                if above.len() > 1 {
                    above.pop();
                }
                continue;
            }
            let place = Place {
                parent: parent.try_clone()?,
                name: part,
            };
            let is_last = way.is_at_end();
            match place.stat()? {
                Some(stat) if Kind::of(&stat) == Kind::Link => {
                    if is_last && last == Last::Stay {
                        return Ok(End::Place(place));
                    }
                    self.check_link(&stat)?;
                    let target = readlinkat(&place.parent, place.name.as_os_str())?;
                    if Path::new(&target).is_absolute() {
                        above.truncate(1);
                    }
                    way.follow(Path::new(&target))?;
                }
                _ if is_last => return Ok(End::Place(place)),
                Some(_) => above.push(place.open(OFlag::O_DIRECTORY, Mode::empty())?),
                None => match missing {
                    Missing::Fail => return Err(Errno::ENOENT.into()),
                    Missing::Make(attributes) => above.push(make_directory(&place, attributes)?),
                },
            }
        }
        Ok(End::Inside(
            above.pop().map_or_else(|| self.top.try_clone(), Ok)?,
        ))
    }

    fn check_link(&self, stat: &FileStat) -> io::Result<()> {
        if stat.st_uid != self.trusted.as_raw() {
            let reason = format!("a symbolic link on the way belongs to user {}", stat.st_uid);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
        }
        Ok(())
    }

    /// What `path` leads to; `None` if it is nothing. Links are followed.
    pub(super) fn find(&self, path: &str) -> io::Result<Option<(Kind, Attributes)>> {
        self.look(path, Last::Follow)
    }

    /// What `path` itself is, be it a link.
    pub(super) fn find_itself(&self, path: &str) -> io::Result<Option<(Kind, Attributes)>> {
        self.look(path, Last::Stay)
    }

    fn look(&self, path: &str, last: Last) -> io::Result<Option<(Kind, Attributes)>> {
        let found = match self.walk(path, Missing::Fail, last) {
            Ok(place) => place.stat()?,
            Err(error) if is_missing(&error) => None,
            Err(error) => return Err(error),
        };
        Ok(found.map(|stat| (Kind::of(&stat), Attributes::of(&stat))))
    }

    /// Reads a file of at most `limit` bytes; `None` if there is none.
    pub(in crate::guest) fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        match self.walk(path, Missing::Fail, Last::Follow) {
            Ok(place) => Ok(read_at(&place, limit)?.map(|(bytes, _)| bytes)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes `path` a file of these bytes and attributes, unless it is one, and directories on the way to it. Whether
    /// anything had to be done.
    pub(in crate::guest) fn write(
        &self,
        path: &str,
        bytes: &[u8],
        attributes: Attributes,
        parents: Attributes,
    ) -> io::Result<bool> {
        let place = self.walk(path, Missing::Make(parents), Last::Follow)?;
        replace(&place, bytes, attributes)
    }

    /// As [`write`](Self::write), but a link that has the name gives way to the file.
    pub(super) fn write_over(
        &self,
        path: &str,
        bytes: &[u8],
        attributes: Attributes,
    ) -> io::Result<bool> {
        let place = self.walk(path, Missing::Make(Attributes::of_root(0o755)), Last::Stay)?;
        replace(&place, bytes, attributes)
    }

    /// Gives a file other bytes and lets it keep what else it has; `attributes` are those of a new one.
    pub(super) fn edit(
        &self,
        path: &str,
        bytes: &[u8],
        attributes: Attributes,
    ) -> io::Result<bool> {
        let kept = self.find(path)?.map_or(attributes, |(_, kept)| kept);
        self.write(path, bytes, kept, Attributes::of_root(0o755))
    }

    /// Makes a directory, and those on the way to it; whether it was not there.
    pub(super) fn make_directory(
        &self,
        path: &str,
        attributes: Attributes,
        parents: Attributes,
    ) -> io::Result<bool> {
        let place = self.walk(path, Missing::Make(parents), Last::Follow)?;
        match place.stat()? {
            Some(stat) if Kind::of(&stat) == Kind::Directory => Ok(false),
            Some(_) => Err(Errno::ENOTDIR.into()),
            None => make_directory(&place, attributes).map(|_| true),
        }
    }

    /// Gives a directory that is there other attributes.
    pub(super) fn set_directory(&self, path: &str, attributes: Attributes) -> io::Result<()> {
        let place = self.walk(path, Missing::Fail, Last::Follow)?;
        let directory = place.open(OFlag::O_DIRECTORY, Mode::empty())?;
        Ok(set_attributes(&directory, attributes)?)
    }

    /// Opens a directory, which is made if it is missing, with those on the way to it.
    pub(in crate::guest) fn directory(&self, path: &str, new: Attributes) -> io::Result<OwnedFd> {
        let open = || match self.go(path, Missing::Make(new), Last::Follow)? {
            End::Inside(directory) => Ok(directory),
            End::Place(place) if place.stat()?.is_none() => make_directory(&place, new),
            End::Place(place) => place.open(OFlag::O_DIRECTORY, Mode::empty()),
        };
        match open() {
            // Somebody else has made one of them meanwhile.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open(),
            opened => opened,
        }
    }

    /// Makes a symbolic link where nothing is.
    pub(super) fn link(&self, path: &str, target: &OsStr, uid: u32, gid: u32) -> io::Result<()> {
        let place = self.walk(path, Missing::Fail, Last::Stay)?;
        symlinkat(target, &place.parent, place.name.as_os_str())?;
        Ok(chown_link(&place.parent, &place.name, uid, gid)?)
    }

    /// Where a symbolic link says that it leads.
    pub(super) fn link_target(&self, path: &str) -> io::Result<OsString> {
        let place = self.walk(path, Missing::Fail, Last::Stay)?;
        Ok(readlinkat(&place.parent, place.name.as_os_str())?)
    }

    /// Removes a name that is no directory's; whether there was one.
    pub(super) fn remove(&self, path: &str) -> io::Result<bool> {
        match self.walk(path, Missing::Fail, Last::Stay) {
            Ok(place) => {
                let name = place.name.as_os_str();
                match unlinkat(&place.parent, name, UnlinkatFlags::NoRemoveDir) {
                    Ok(()) => Ok(true),
                    Err(Errno::ENOENT) => Ok(false),
                    Err(error) => Err(error.into()),
                }
            }
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What a directory holds, sorted by name and at most `limit` entries; nothing if it is not there.
    pub(super) fn list(&self, path: &str, limit: usize) -> io::Result<Vec<Entry>> {
        let directory = match self.walk(path, Missing::Fail, Last::Follow) {
            Ok(place) => place.open(OFlag::O_DIRECTORY, Mode::empty()),
            Err(error) => Err(error),
        };
        let directory = match directory {
            Ok(directory) => directory,
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut entries = Vec::new();
        for entry in fs::read_dir(format!("/proc/self/fd/{}", directory.as_raw_fd()))? {
            let name = entry?.file_name();
            let stat = fstatat(&directory, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            let (kind, attributes) = (Kind::of(&stat), Attributes::of(&stat));
            if entries.len() == limit {
                return Err(Errno::E2BIG.into());
            }
            entries.push(Entry {
                name,
                kind,
                attributes,
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Gives what has this name, and is no link's target, another owner.
    pub(super) fn change_owner(&self, path: &str, uid: u32, gid: u32) -> io::Result<()> {
        let place = self.walk(path, Missing::Fail, Last::Stay)?;
        Ok(chown_link(&place.parent, &place.name, uid, gid)?)
    }
}

/// Whether an error says that nothing has the path.
fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::ENOENT | Errno::ENOTDIR)
    )
}
