//! From files to a tar stream.
//!
//! Invariant: of each level of the tree one open folder is held, and of files one buffer; nothing follows a symbolic
//! link.

mod stream;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions, ReadDir};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

use super::error::ArchiveError;
use super::kernel_fs;
use crate::protocol::Copied;
use stream::{Progress, Stream};

/// How many files with several names are remembered; others are sent again under each.
const MAX_LINKED: usize = 1 << 16;

/// The most bytes of a file whose size is said to be zero.
const MAX_MADE_UP: u64 = 4 << 20;

/// Writes the file or folder at `path`, with all that is in it, as `name` and what is below that.
///
/// Symbolic links are written as such, `path` too. Device nodes, pipes and sockets are left out, and so is what is in
/// file systems of the kernel's, like `/proc`, that are mounted below. Holes of files are written as zeros.
/// `report` is told now and then what was written.
///
/// # Errors
/// An [`ArchiveError`] about the first entry that could not be read, or [`ArchiveError::Stream`] about `to`. A file
/// that becomes shorter while it is read is an error, too.
pub fn pack<W: Write>(
    path: &Path,
    name: &OsStr,
    to: W,
    report: &mut dyn FnMut(&Copied),
) -> Result<Copied, ArchiveError> {
    let mut packer = Packer {
        stream: Stream::new(to),
        linked: HashMap::new(),
        progress: Progress::new(report),
    };
    packer.tree(path, name)?;
    packer.stream.finish()?;
    packer.progress.tell();
    Ok(packer.progress.copied)
}

struct Packer<'a, W: Write> {
    stream: Stream<W>,
    /// The names of files that have more than one, by device and inode.
    linked: HashMap<(u64, u64), Vec<u8>>,
    progress: Progress<'a>,
}

/// A folder that is being gone through.
struct Level {
    path: PathBuf,
    name: Vec<u8>,
    device: u64,
    entries: ReadDir,
}

impl<W: Write> Packer<'_, W> {
    fn tree(&mut self, path: &Path, name: &OsStr) -> Result<(), ArchiveError> {
        let mut levels = Vec::new();
        levels.extend(self.entry(path.to_owned(), name.as_bytes().to_vec(), None)?);
        while let Some(level) = levels.last_mut() {
            let Some(entry) = level.entries.next() else {
                levels.pop();
                continue;
            };
            let failed = ArchiveError::entry("list", level.path.as_os_str().as_bytes());
            let file_name = entry.map_err(failed)?.file_name();
            let mut name = level.name.clone();
            name.push(b'/');
            name.extend_from_slice(file_name.as_bytes());
            let (path, device) = (level.path.join(&file_name), level.device);
            levels.extend(self.entry(path, name, Some(device))?);
        }
        Ok(())
    }

    /// Writes one entry; returns what is to be gone through if it is a folder. `device` is that of the folder that it
    /// is in.
    fn entry(
        &mut self,
        path: PathBuf,
        name: Vec<u8>,
        device: Option<u64>,
    ) -> Result<Option<Level>, ArchiveError> {
        let shown = path.as_os_str().as_bytes().to_vec();
        let data = match fs::symlink_metadata(&path) {
            // Removed since its folder was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound && device.is_some() => {
                return Ok(None);
            }
            data => data.map_err(ArchiveError::entry("examine", &shown))?,
        };
        let kind = data.file_type();
        if kind.is_dir() {
            return self.folder(path, name, &data, device);
        } else if kind.is_symlink() {
            let target =
                fs::read_link(&path).map_err(ArchiveError::entry("read the link", &shown))?;
            let mut header = header_of(&data, EntryType::Symlink);
            let target = Some(target.as_os_str().as_bytes());
            self.stream.put(&mut header, &name, target, &[])?;
            self.progress.copied.symlinks += 1;
        } else if kind.is_file() {
            self.file(&path, &name, &data)?;
        } else {
            debug_assert!(
                kind.is_fifo()
                    || kind.is_socket()
                    || kind.is_block_device()
                    || kind.is_char_device()
            );
            self.progress.copied.skipped += 1;
        }
        Ok(None)
    }

    fn folder(
        &mut self,
        path: PathBuf,
        name: Vec<u8>,
        data: &Metadata,
        device: Option<u64>,
    ) -> Result<Option<Level>, ArchiveError> {
        let mut header = header_of(data, EntryType::Directory);
        self.stream.put(&mut header, &name, None, &[])?;
        self.progress.copied.directories += 1;
        let is_mount = device.is_some_and(|device| device != data.dev());
        if is_mount && kernel_fs::is_kernels(&path) {
            return Ok(None);
        }
        let failed = ArchiveError::entry("list", path.as_os_str().as_bytes());
        let entries = fs::read_dir(&path).map_err(failed)?;
        Ok(Some(Level {
            path,
            name,
            device: data.dev(),
            entries,
        }))
    }

    fn file(&mut self, path: &Path, name: &[u8], data: &Metadata) -> Result<(), ArchiveError> {
        let identity = (data.dev(), data.ino());
        if data.nlink() > 1 {
            if let Some(first) = self.linked.get(&identity).cloned() {
                let mut header = header_of(data, EntryType::Link);
                self.stream.put(&mut header, name, Some(&first), &[])?;
                self.progress.copied.files += 1;
                return Ok(());
            }
            if self.linked.len() < MAX_LINKED {
                self.linked.insert(identity, name.to_vec());
            }
        }
        let shown = path.as_os_str().as_bytes();
        // Whatever has taken its place meanwhile is neither followed nor waited for.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)
            .map_err(ArchiveError::entry("open", shown))?;
        let data = file
            .metadata()
            .map_err(ArchiveError::entry("examine", shown))?;
        if !data.is_file() {
            return Err(ArchiveError::refused(
                shown,
                "was replaced while it was copied",
            ));
        }
        let mut header = header_of(&data, EntryType::Regular);
        if data.len() == 0 {
            return self.without_size(&mut header, name, shown, &file);
        }
        header.set_size(data.len());
        self.stream
            .file(&mut header, name, shown, &file, &mut self.progress)?;
        self.progress.copied.files += 1;
        self.progress.tell();
        Ok(())
    }

    /// Writes a file that is empty, or is made up by the kernel as it is read.
    fn without_size(
        &mut self,
        header: &mut Header,
        name: &[u8],
        shown: &[u8],
        file: &File,
    ) -> Result<(), ArchiveError> {
        let mut bytes = Vec::new();
        file.take(MAX_MADE_UP + 1)
            .read_to_end(&mut bytes)
            .map_err(ArchiveError::entry("read", shown))?;
        if bytes.len() as u64 > MAX_MADE_UP {
            let problem = "says that it is empty, and goes on and on";
            return Err(ArchiveError::refused(shown, problem));
        }
        header.set_size(bytes.len() as u64);
        self.stream.put(header, name, None, &bytes)?;
        self.progress.copied.files += 1;
        self.progress.copied.bytes += bytes.len() as u64;
        self.progress.tell();
        Ok(())
    }
}

fn header_of(data: &Metadata, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(data.mode() & 0o7777);
    header.set_uid(u64::from(data.uid()));
    header.set_gid(u64::from(data.gid()));
    // Times before 1970 have no place in a header.
    header.set_mtime(u64::try_from(data.mtime()).unwrap_or(0));
    header.set_size(0);
    header
}
