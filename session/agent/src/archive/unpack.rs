//! From a tar stream to files.
//!
//! Invariant: whatever the stream says, nothing is made, changed or removed outside of the folder that was given, and
//! no more memory is used than its limits say.

mod entry;
mod holes;
mod limits;
mod place;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use nix::sys::statvfs::fstatvfs;
use tar::Archive;

use super::error::{ArchiveError, text};
use super::name::Name;
use super::{BUFFER_BYTES, REPORT_BYTES};
use crate::protocol::Copied;
use entry::{Entry, Extensions, Kind};
use holes::Content;
pub use limits::Limits;
use place::{Links, Place};

/// How many bytes may follow behind the end of an archive: tools fill up their last block.
const MAX_TRAILER: u64 = 1 << 20;

/// Who owns what is made, and which permissions it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// The process that unpacks; permissions are those of the stream without set-user-id, set-group-id and sticky bits.
    Unpacker,
    /// These numbers.
    Fixed {
        /// The user's.
        uid: u32,
        /// The group's.
        gid: u32,
    },
    /// The numbers in the stream.
    Stream,
}

/// Makes the files of a tar stream in a folder.
///
/// Files that are there are replaced once what replaces them is complete, folders that are there are filled and stay as they
/// are otherwise. Device nodes and pipes are skipped. A hard link can only be to a file that the same stream made.
pub struct Unpacker<'a> {
    place: Place,
    rename: Option<OsString>,
    limits: Limits,
    report: Box<dyn FnMut(&Copied) + 'a>,
}

impl<'a> Unpacker<'a> {
    /// Into `folder`, where no symbolic link is followed: an entry below one is an error.
    #[must_use]
    pub fn strict(folder: OwnedFd) -> Self {
        Self::new(Place::new(folder, Links::None, Ownership::Unpacker))
    }

    /// Into `folder`, where symbolic links are followed that belong to this process's user, are relative, and stay inside.
    /// An entry below another one is an error.
    #[must_use]
    pub fn beneath(folder: OwnedFd, ownership: Ownership) -> Self {
        Self::new(Place::new(folder, Links::Own, ownership))
    }

    /// Likewise, but absolute links are followed, too: `folder` is the root to links, and no `..` leads out of it.
    #[must_use]
    pub fn as_root(folder: OwnedFd, ownership: Ownership) -> Self {
        Self::new(Place::new(folder, Links::OwnFromRoot, ownership))
    }

    fn new(place: Place) -> Self {
        Self {
            place,
            rename: None,
            limits: Limits::default(),
            report: Box::new(|_| ()),
        }
    }

    /// Calls the one file or folder of the stream `name`, whatever the stream calls it.
    #[must_use]
    pub fn rename(mut self, name: OsString) -> Self {
        self.rename = Some(name);
        self
    }

    /// Takes no more than this.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Tells `report` now and then what was made.
    #[must_use]
    pub fn report(mut self, report: impl FnMut(&Copied) + 'a) -> Self {
        self.report = Box::new(report);
        self
    }

    /// Unpacks `stream` to its end.
    ///
    /// # Errors
    /// An [`ArchiveError`], which names the entry. What was made before stays, but no part of a file.
    pub fn run(self, stream: impl Read) -> Result<Copied, ArchiveError> {
        let mut run = Run {
            place: self.place,
            rename: self.rename,
            limits: self.limits,
            report: self.report,
            entries: 0,
            copied: Copied::default(),
            last: Vec::new(),
            buffer: vec![0; BUFFER_BYTES],
        };
        let mut archive = Archive::new(stream);
        run.archive(&mut archive)?;
        run.trailer(&mut archive.into_inner())?;
        run.place.finish_folders()?;
        (run.report)(&run.copied);
        Ok(run.copied)
    }
}

impl std::fmt::Debug for Unpacker<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacker")
            .field("place", &self.place)
            .field("rename", &self.rename)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// An unpacking under way.
struct Run<'a> {
    place: Place,
    rename: Option<OsString>,
    limits: Limits,
    report: Box<dyn FnMut(&Copied) + 'a>,
    entries: u64,
    copied: Copied,
    last: Vec<u8>,
    buffer: Vec<u8>,
}

impl Run<'_> {
    fn archive<R: Read>(&mut self, archive: &mut Archive<R>) -> Result<(), ArchiveError> {
        let entries = archive.entries().map_err(|source| self.broken(source))?;
        let mut extensions = Extensions::default();
        // Raw, because long names are else taken whatever their length.
        for entry in entries.raw(true) {
            let mut entry = entry.map_err(|source| self.broken(source))?;
            if entry.raw_header_position() > self.limits.stream() {
                return Err(self.too_much(
                    &entry.path_bytes(),
                    self.limits.stream(),
                    "bytes of the stream",
                ));
            }
            if extensions.take(&mut entry)? {
                continue;
            }
            self.count(&entry.path_bytes())?;
            if let Some(described) = std::mem::take(&mut extensions).describe(entry.header())? {
                self.last.clone_from(&described.name);
                self.make(&described, &mut entry)?;
                (self.report)(&self.copied);
            }
        }
        match extensions.is_empty() {
            true => Ok(()),
            false => Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn broken(&self, source: io::Error) -> ArchiveError {
        ArchiveError::Stream {
            after: text(&self.last),
            source,
        }
    }

    fn count(&mut self, name: &[u8]) -> Result<(), ArchiveError> {
        self.entries += 1;
        if self.entries <= self.limits.entries {
            return Ok(());
        }
        Err(self.too_much(name, self.limits.entries, "entries"))
    }

    fn too_much(&self, name: &[u8], limit: u64, what: &'static str) -> ArchiveError {
        let entry = text(name);
        ArchiveError::TooMuch { entry, limit, what }
    }

    /// Sees that there is room for more.
    fn check_room(&self, name: &[u8]) -> Result<(), ArchiveError> {
        let reserve = self.limits.reserve;
        if reserve == 0 {
            return Ok(());
        }
        let stat =
            fstatvfs(self.place.top()).map_err(ArchiveError::entry("look for room for", name))?;
        let free = stat.blocks_available().saturating_mul(stat.fragment_size());
        match free < reserve {
            true => Err(ArchiveError::NoRoom {
                entry: text(name),
                reserve,
            }),
            false => Ok(()),
        }
    }

    fn make(&mut self, entry: &Entry, data: &mut impl Read) -> Result<(), ArchiveError> {
        let name = self.name(&entry.name)?;
        self.check_room(&entry.name)?;
        match &entry.kind {
            Kind::Folder => {
                if self.place.folder(&name, entry)? {
                    self.copied.directories += 1;
                }
            }
            Kind::File => self.file(&name, entry, data)?,
            Kind::Symlink(target) => {
                self.place.symlink(&name, entry, target)?;
                self.copied.symlinks += 1;
            }
            Kind::HardLink(target) => {
                let target = self.name(target)?;
                self.place.hard_link(&name, entry, &target)?;
                self.copied.files += 1;
            }
            Kind::Special => self.copied.skipped += 1,
        }
        Ok(())
    }

    fn name(&self, bytes: &[u8]) -> Result<Name, ArchiveError> {
        let name = Name::parse(bytes)?;
        match &self.rename {
            None => Ok(name),
            Some(new) => name
                .renamed(new)
                .ok_or_else(|| ArchiveError::refused(bytes, "has no name")),
        }
    }

    fn file(
        &mut self,
        name: &Name,
        entry: &Entry,
        data: &mut impl Read,
    ) -> Result<(), ArchiveError> {
        if entry.size > self.limits.bytes.saturating_sub(self.copied.bytes) {
            return Err(self.too_much(&entry.name, self.limits.bytes, "bytes"));
        }
        let new = self.place.new_file(name, entry)?;
        self.content(new.file(), entry, data)?;
        self.place.finish_file(new, entry)?;
        self.copied.files += 1;
        Ok(())
    }

    fn content(
        &mut self,
        file: &File,
        entry: &Entry,
        data: &mut impl Read,
    ) -> Result<(), ArchiveError> {
        let mut content = Content::new(file);
        let mut left = entry.size;
        let mut unreported = 0;
        while left > 0 {
            let wanted = usize::try_from(left).map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
            let count = match data.read(&mut self.buffer[..wanted]) {
                Ok(0) => return Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.broken(error)),
            };
            let written = content.put(&self.buffer[..count]);
            written.map_err(ArchiveError::entry("write", &entry.name))?;
            left -= count as u64;
            self.copied.bytes += count as u64;
            unreported += count as u64;
            if unreported >= REPORT_BYTES {
                unreported = 0;
                self.check_room(&entry.name)?;
                (self.report)(&self.copied);
            }
        }
        content
            .finish()
            .map_err(ArchiveError::entry("write", &entry.name))
    }

    /// Reads what follows behind the end of the archive, so that whoever sends it comes to its end.
    fn trailer(&mut self, stream: &mut impl Read) -> Result<(), ArchiveError> {
        let mut taken = 0;
        loop {
            match stream.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => taken += count as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(error)),
            }
            if taken > MAX_TRAILER {
                return Err(ArchiveError::refused(
                    &self.last,
                    "is not the last that comes: the stream goes on behind its end",
                ));
            }
        }
    }
}
