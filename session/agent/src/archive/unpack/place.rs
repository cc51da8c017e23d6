//! The folder that is unpacked into.
//!
//! Invariant: every path is resolved by openat2(2) from the folder, by rules that keep it beneath; what is made gets
//! its name by a call that follows no link, and its owner by a descriptor.

mod temporary;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, fstatat, futimens, mkdirat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, geteuid, linkat, symlinkat};

use super::super::ArchiveError;
use super::super::name::{self, Name};
use super::Ownership;
use super::entry::Entry;
use temporary::Temporary;

/// How many bytes the paths of new folders may take that wait for their permissions.
const MAX_WAITING: usize = 16 << 20;

const RWX_OWNER: Mode = Mode::S_IRWXU;

#[derive(Debug)]
pub(super) struct Place {
    folder: OwnedFd,
    resolve: ResolveFlag,
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

#[derive(Debug)]
struct Waiting {
    path: PathBuf,
    mode: Mode,
    modified: i64,
}

impl Place {
    pub(super) fn new(folder: OwnedFd, resolve: ResolveFlag, ownership: Ownership) -> Self {
        Self {
            folder,
            resolve,
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
    fn open(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(self.resolve);
        again(|| openat2(&self.folder, path, how))
    }

    /// The folder `path`, which is made if it is missing.
    fn parent(&mut self, path: PathBuf, shown: &[u8]) -> Result<Rc<OwnedFd>, ArchiveError> {
        if let Some((last, opened)) = &self.parent
            && *last == path
        {
            return Ok(Rc::clone(opened));
        }
        let opened = match self.open_folder(&path) {
            Err(Errno::ENOENT) => self.make_all(&path),
            opened => opened,
        };
        let opened = Rc::new(opened.map_err(ArchiveError::entry("reach the folder of", shown))?);
        self.parent = Some((path, Rc::clone(&opened)));
        Ok(opened)
    }

    fn open_folder(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.open(path, OFlag::O_PATH | OFlag::O_DIRECTORY)
    }

    fn make_all(&self, path: &Path) -> nix::Result<OwnedFd> {
        let mut above = self.open_folder(Path::new(""))?;
        for step in name::steps(path) {
            above = match self.open_folder(&step) {
                Err(Errno::ENOENT) => {
                    let name = step.file_name().unwrap_or_default();
                    match mkdirat(&above, name, Mode::from_bits_truncate(0o755)) {
                        Ok(()) => self.own_new(&above, name, SFlag::S_IFDIR, None)?,
                        Err(Errno::EEXIST) => {}
                        Err(error) => return Err(error),
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

    /// Makes a folder, unless it is there; `false` if it is the one that is unpacked into.
    pub(super) fn folder(&mut self, at: &Name, entry: &Entry) -> Result<bool, ArchiveError> {
        let Some((parents, name)) = at.split() else {
            return Ok(false);
        };
        let shown = &entry.name;
        let parent = self.parent(parents, shown)?;
        match mkdirat(&parent, name, RWX_OWNER) {
            Ok(()) => {}
            Err(Errno::EEXIST) => {
                let opened = self.open_folder(&at.path());
                opened.map_err(ArchiveError::entry("fill the folder", shown))?;
                return Ok(true);
            }
            Err(error) => return Err(ArchiveError::entry("make the folder", shown)(error)),
        }
        self.own_new(&parent, name, SFlag::S_IFDIR, Some(entry))
            .map_err(ArchiveError::entry("set the owner of", shown))?;
        let waiting = Waiting {
            path: at.path(),
            mode: self.mode(entry),
            modified: entry.modified,
        };
        self.waiting_bytes += waiting.path.as_os_str().len() + size_of::<Waiting>();
        self.waiting.push(waiting);
        if self.waiting_bytes > MAX_WAITING {
            self.finish_folders()?;
        }
        Ok(true)
    }

    /// Sets the permissions and times of folders, the innermost first.
    pub(super) fn finish_folders(&mut self) -> Result<(), ArchiveError> {
        self.waiting_bytes = 0;
        while let Some(folder) = self.waiting.pop() {
            let finished = self
                .open(
                    &folder.path,
                    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW,
                )
                .and_then(|opened| {
                    fchmod(&opened, folder.mode)?;
                    set_modified(&opened, folder.modified)
                });
            let shown = folder.path.as_os_str().as_bytes();
            finished.map_err(ArchiveError::entry("set the permissions of", shown))?;
        }
        Ok(())
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

    /// Makes an empty file, which has no name of its own before it is finished.
    pub(super) fn new_file<'n>(
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
    pub(super) fn finish_file(
        &mut self,
        new: NewFile<'_>,
        entry: &Entry,
    ) -> Result<(), ArchiveError> {
        let NewFile {
            file,
            temporary,
            name,
        } = new;
        let finish = || {
            if let Some((uid, gid)) = self.owner(Some(entry)) {
                fchown(&file, Some(uid), Some(gid))?;
            }
            fchmod(&file, self.mode(entry))?;
            set_modified(&file, entry.modified)
        };
        finish().map_err(ArchiveError::entry(
            "set the owner and permissions of",
            &entry.name,
        ))?;
        let identity = identity(&file).map_err(ArchiveError::entry("examine", &entry.name))?;
        let placed = temporary.become_known(name);
        placed.map_err(ArchiveError::entry("replace", &entry.name))?;
        self.made.insert(identity);
        Ok(())
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

    pub(super) fn hard_link(
        &mut self,
        at: &Name,
        entry: &Entry,
        target: &Name,
    ) -> Result<(), ArchiveError> {
        let failed = || ArchiveError::entry("make the hard link", &entry.name);
        let file = self
            .open(&target.path(), OFlag::O_PATH | OFlag::O_NOFOLLOW)
            .map_err(failed())?;
        if !self.made.contains(&identity(&file).map_err(failed())?) {
            let problem = "is a hard link to something that this stream did not make";
            return Err(ArchiveError::refused(&entry.name, problem));
        }
        let (temporary, name) = self.place(at, &entry.name)?;
        // The very file that was looked at, whatever has its name now.
        let itself = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let (parent, new) = (temporary.parent(), temporary.name());
        linkat(AT_FDCWD, &itself, parent, new, AtFlags::AT_SYMLINK_FOLLOW).map_err(failed())?;
        temporary.made().become_known(name).map_err(failed())
    }
}

/// A file that is being made; dropping it unfinished leaves nothing.
#[derive(Debug)]
pub(super) struct NewFile<'n> {
    file: File,
    temporary: temporary::Made,
    /// What it shall be called.
    name: &'n OsStr,
}

impl NewFile<'_> {
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

fn identity(file: impl AsFd) -> nix::Result<(u64, u64)> {
    let data = fstat(file)?;
    Ok((data.st_dev, data.st_ino))
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
