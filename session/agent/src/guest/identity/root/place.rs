//! One name in one directory, and what can be made of it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fchmod, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, unlinkat};

use super::{Attributes, Kind};

/// Where a path leads: a name in a directory, whether or not anything has it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) parent: OwnedFd,
    pub(super) name: OsString,
}

impl Place {
    pub(super) fn stat(&self) -> io::Result<Option<FileStat>> {
        match fstatat(
            &self.parent,
            self.name.as_os_str(),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        ) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn open(&self, flags: OFlag, mode: Mode) -> io::Result<OwnedFd> {
        open_in(&self.parent, &self.name, flags, mode)
    }
}

fn open_in(parent: &OwnedFd, name: &OsStr, flags: OFlag, mode: Mode) -> io::Result<OwnedFd> {
    let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    Ok(openat(parent, name, flags, mode)?)
}

pub(super) fn chown_link(parent: &OwnedFd, name: &OsStr, uid: u32, gid: u32) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
    fchownat(parent, name, Some(uid), Some(gid), flags)
}

pub(super) fn set_attributes(fd: &OwnedFd, attributes: Attributes) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
    fchown(fd, Some(uid), Some(gid))?;
    // After the owner: a change of that takes set-user-ID bits away.
    fchmod(fd, Mode::from_bits_truncate(attributes.mode))
}

pub(super) fn make_directory(place: &Place, attributes: Attributes) -> io::Result<OwnedFd> {
    let mode = Mode::from_bits_truncate(attributes.mode);
    mkdirat(&place.parent, place.name.as_os_str(), mode)?;
    let made = place.open(OFlag::O_DIRECTORY, Mode::empty())?;
    set_attributes(&made, attributes)?;
    Ok(made)
}

/// The file in a place with its attributes; `None` if there is none.
pub(super) fn read_at(place: &Place, limit: u64) -> io::Result<Option<(Vec<u8>, Attributes)>> {
    let Some(stat) = place.stat()? else {
        return Ok(None);
    };
    if Kind::of(&stat) != Kind::File {
        return Err(io::Error::other("it is no regular file"));
    }
    let file = File::from(place.open(OFlag::O_RDONLY, Mode::empty())?);
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(Some((bytes, Attributes::of(&stat))))
}

/// Puts a file into a place as a whole: whoever looks sees the old one or the new one, after a power cut too.
/// The journal keeps names in the order in which they were made, so a name that is there vouches for those
/// before it.
pub(super) fn replace(place: &Place, bytes: &[u8], attributes: Attributes) -> io::Result<bool> {
    let found = place.stat()?;
    match found.as_ref().map(Kind::of) {
        Some(Kind::Directory) => return Err(Errno::EISDIR.into()),
        Some(Kind::File) => {
            let limit = bytes.len() as u64;
            if let Ok(Some((old, kept))) = read_at(place, limit)
                && old == bytes
            {
                if kept == attributes {
                    return Ok(false);
                }
                let file = place.open(OFlag::O_RDONLY, Mode::empty())?;
                set_attributes(&file, attributes)?;
                File::from(file).sync_all()?;
                return Ok(true);
            }
        }
        _ => {}
    }
    let mut name = OsString::from(".");
    name.push(&place.name);
    name.push(".vm-agent");
    // Names may have 255 bytes; what is left of a power cut would be in the way.
    let name = OsStr::from_bytes(&name.as_bytes()[name.len().saturating_sub(255)..]);
    let _ = unlinkat(&place.parent, name, UnlinkatFlags::NoRemoveDir);
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    let new = open_in(&place.parent, name, flags, Mode::from_bits_truncate(0o600))?;
    let written = set_attributes(&new, attributes)
        .map_err(io::Error::from)
        .and_then(|()| {
            let mut file = File::from(new);
            file.write_all(bytes)?;
            // A write takes set-user-ID bits away, so they come last.
            set_attributes(&OwnedFd::from(file.try_clone()?), attributes)?;
            file.sync_all()
        })
        .and_then(|()| {
            let (from, to) = (name, place.name.as_os_str());
            Ok(renameat(&place.parent, from, &place.parent, to)?)
        });
    match written {
        Ok(()) => Ok(true),
        Err(error) => {
            let _ = unlinkat(&place.parent, name, UnlinkatFlags::NoRemoveDir);
            Err(error)
        }
    }
}
