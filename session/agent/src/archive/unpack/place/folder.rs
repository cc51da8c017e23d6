//! Folders.
//!
//! Invariant: a new folder is its owner's to fill, and nobody else's, before it gets its permissions.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, fchmod, mkdirat};

use super::super::super::ArchiveError;
use super::super::super::name::Name;
use super::super::entry::Entry;
use super::links::Unreached;
use super::{Place, set_modified};

/// How many bytes the paths of new folders may take that wait for their permissions.
const MAX_WAITING: usize = 16 << 20;

const RWX_OWNER: Mode = Mode::S_IRWXU;

#[derive(Debug)]
pub(super) struct Waiting {
    path: PathBuf,
    mode: Mode,
    modified: i64,
}

impl Place {
    /// Makes a folder, unless it is there; `false` if it is the one that is unpacked into.
    pub(in super::super) fn folder(
        &mut self,
        at: &Name,
        entry: &Entry,
    ) -> Result<bool, ArchiveError> {
        let Some((parents, name)) = at.split() else {
            return Ok(false);
        };
        let shown = &entry.name;
        let parent = self.parent(parents, shown)?;
        match mkdirat(&parent, name, RWX_OWNER) {
            Ok(()) => {}
            Err(Errno::EEXIST) => {
                let opened = self.open_folder(&at.path());
                opened.map_err(Unreached::when("fill the folder", shown))?;
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
    pub(in super::super) fn finish_folders(&mut self) -> Result<(), ArchiveError> {
        self.waiting_bytes = 0;
        while let Some(folder) = self.waiting.pop() {
            let finished = self
                .open(
                    &folder.path,
                    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW,
                )
                .and_then(|opened| {
                    fchmod(&opened, folder.mode)?;
                    Ok(set_modified(&opened, folder.modified)?)
                });
            let shown = folder.path.as_os_str().as_bytes();
            finished.map_err(Unreached::when("set the permissions of", shown))?;
        }
        Ok(())
    }
}
