//! From files to a tar stream.
//!
//! Invariant: of each level of the tree one open folder is held, and of a file one buffer; nothing follows a symbolic
//! link.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions, ReadDir};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::error::{ArchiveError, text};
use super::{BUFFER_BYTES, REPORT_BYTES, kernel_fs};
use crate::protocol::Copied;

/// How many files with several names are remembered; others are sent again under each.
const MAX_LINKED: usize = 1 << 16;

/// The most bytes of a file whose size is said to be zero.
const MAX_MADE_UP: u64 = 4 << 20;

/// What a header has room for.
const SHORT_NAME: usize = 100;

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
        builder: Builder::new(to),
        linked: HashMap::new(),
        copied: Copied::default(),
        last: Vec::new(),
        report,
    };
    packer.tree(path, name)?;
    let mut to = packer
        .builder
        .into_inner()
        .map_err(|source| stream_error(&packer.last, source))?;
    to.flush()
        .map_err(|source| stream_error(&packer.last, source))?;
    (packer.report)(&packer.copied);
    Ok(packer.copied)
}

fn stream_error(last: &[u8], source: io::Error) -> ArchiveError {
    ArchiveError::Stream {
        after: text(last),
        source,
    }
}

struct Packer<'a, W: Write> {
    builder: Builder<W>,
    /// The names of files that have more than one, by device and inode.
    linked: HashMap<(u64, u64), Vec<u8>>,
    copied: Copied,
    last: Vec<u8>,
    report: &'a mut dyn FnMut(&Copied),
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
        let mut level = None;
        if kind.is_dir() {
            level = self.folder(path, name.clone(), &data, device)?;
        } else if kind.is_symlink() {
            let target =
                fs::read_link(&path).map_err(ArchiveError::entry("read the link", &shown))?;
            let mut header = header_of(&data, EntryType::Symlink);
            self.put(
                &mut header,
                &name,
                Some(target.as_os_str().as_bytes()),
                io::empty(),
            )?;
            self.copied.symlinks += 1;
        } else if kind.is_file() {
            self.file(&path, &name, &data)?;
        } else {
            debug_assert!(
                kind.is_fifo()
                    || kind.is_socket()
                    || kind.is_block_device()
                    || kind.is_char_device()
            );
            self.copied.skipped += 1;
        }
        self.last = name;
        Ok(level)
    }

    fn folder(
        &mut self,
        path: PathBuf,
        name: Vec<u8>,
        data: &Metadata,
        device: Option<u64>,
    ) -> Result<Option<Level>, ArchiveError> {
        let mut header = header_of(data, EntryType::Directory);
        self.put(&mut header, &name, None, io::empty())?;
        self.copied.directories += 1;
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
                self.put(&mut header, name, Some(&first), io::empty())?;
                self.copied.files += 1;
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
        self.content(&mut header, name, shown, file, data.len())?;
        self.copied.files += 1;
        (self.report)(&self.copied);
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
        self.put(header, name, None, bytes.as_slice())?;
        self.copied.files += 1;
        self.copied.bytes += bytes.len() as u64;
        (self.report)(&self.copied);
        Ok(())
    }

    fn content(
        &mut self,
        header: &mut Header,
        name: &[u8],
        shown: &[u8],
        file: File,
        size: u64,
    ) -> Result<(), ArchiveError> {
        self.names(header, name, None)?;
        let mut exactly = Exactly {
            file: BufReader::with_capacity(BUFFER_BYTES, file),
            left: size,
            failure: None,
            copied: &mut self.copied,
            unreported: 0,
            report: &mut *self.report,
        };
        let written = self.builder.append(header, &mut exactly);
        match (exactly.failure, written) {
            (Some(source), _) => Err(ArchiveError::entry("read", shown)(source)),
            (None, written) => written.map_err(|source| stream_error(name, source)),
        }
    }

    fn put(
        &mut self,
        header: &mut Header,
        name: &[u8],
        link: Option<&[u8]>,
        data: impl Read,
    ) -> Result<(), ArchiveError> {
        self.names(header, name, link)?;
        let written = self.builder.append(header, data);
        written.map_err(|source| stream_error(name, source))
    }

    /// Puts the names into the header, or in front of it if they are too long for it.
    fn names(
        &mut self,
        header: &mut Header,
        name: &[u8],
        link: Option<&[u8]>,
    ) -> Result<(), ArchiveError> {
        let failed = |source| stream_error(name, source);
        if let Some(link) = link {
            if link.len() > SHORT_NAME {
                self.long_name(EntryType::GNULongLink, link)
                    .map_err(failed)?;
            }
            put_name(&mut header.as_old_mut().linkname, link);
        }
        if name.len() > SHORT_NAME {
            self.long_name(EntryType::GNULongName, name)
                .map_err(failed)?;
        }
        put_name(&mut header.as_old_mut().name, name);
        header.set_cksum();
        Ok(())
    }

    fn long_name(&mut self, kind: EntryType, name: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        put_name(&mut header.as_old_mut().name, b"././@LongLink");
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        // Its end counts.
        header.set_size(name.len() as u64 + 1);
        header.set_cksum();
        self.builder.append(&header, name.chain(&[0][..]))
    }
}

/// As much of a name as a field holds; what is longer is told in front of the header.
fn put_name(field: &mut [u8; SHORT_NAME], name: &[u8]) {
    let len = name.len().min(SHORT_NAME);
    *field = [0; SHORT_NAME];
    field[..len].copy_from_slice(&name[..len]);
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

/// A file of which just so many bytes are read, as its header says.
struct Exactly<'a> {
    file: BufReader<File>,
    left: u64,
    failure: Option<io::Error>,
    copied: &'a mut Copied,
    unreported: u64,
    report: &'a mut dyn FnMut(&Copied),
}

impl Exactly<'_> {
    fn fill(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).map_or(buf.len(), |left| left.min(buf.len()));
        let count = self.file.read(&mut buf[..wanted])?;
        if count == 0 && wanted > 0 {
            let text = "it became shorter while it was read";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        Ok(count)
    }
}

impl Read for Exactly<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = match self.fill(buf) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                self.failure = Some(error);
                return Err(io::ErrorKind::Other.into());
            }
        };
        self.left -= count as u64;
        self.copied.bytes += count as u64;
        self.unreported += count as u64;
        if self.unreported >= REPORT_BYTES {
            self.unreported = 0;
            (self.report)(self.copied);
        }
        Ok(count)
    }
}
