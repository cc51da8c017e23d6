//! A disk that is a file or a block device of the host.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use vmm_sys_util::fallocate::{FallocateMode, fallocate};

use super::{BlockBackend, ReadTarget, SECTOR_BYTES, WriteSource};
use crate::seccomp::HostCalls;

/// Zeroes that are written at once where the file system can't make them.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// Why a file can't be a disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileBackendError {
    /// It could not be opened or examined.
    #[error("could not {action} the disk {path}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The host's answer.
        source: io::Error,
    },
    /// It is a folder, a pipe or the like.
    #[error("{path} is neither a file nor a block device, so it can't be a disk", path = path.display())]
    NoDisk {
        /// The file.
        path: PathBuf,
    },
    /// It is empty or ends within a sector.
    #[error("the disk {path} has {bytes} bytes: extend or cut it to a multiple of 512 that is not 0", path = path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
}

/// A disk whose bytes are those of a raw image or of a block device, through the host's page cache.
///
/// Discards give the host's space back where its file system can do that. The size is that of the moment of
/// opening. Nothing keeps others from changing the file meanwhile.
#[derive(Debug)]
pub struct FileBackend {
    file: File,
    bytes: u64,
    read_only: bool,
    /// Whether a flush failed: the host reports lost writes once, so no other flush may claim them.
    flush_failed: Mutex<bool>,
}

impl FileBackend {
    /// Opens the file at `path`, for reading alone if `read_only`; the [`Drive`](crate::Drive) must then be
    /// read-only, too.
    ///
    /// # Errors
    /// [`FileBackendError`]
    pub fn open(path: impl AsRef<Path>, read_only: bool) -> Result<Self, FileBackendError> {
        let path = path.as_ref();
        let fault = |action| {
            move |source| FileBackendError::Io {
                action,
                path: path.to_owned(),
                source,
            }
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(!read_only)
            // A pipe would wait for its other end.
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(fault("open"))?;
        let kind = file.metadata().map_err(fault("examine"))?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            let path = path.to_owned();
            return Err(FileBackendError::NoDisk { path });
        }
        let bytes = file
            .seek(SeekFrom::End(0))
            .map_err(fault("find the size of"))?;
        if bytes == 0 || !bytes.is_multiple_of(SECTOR_BYTES) {
            let path = path.to_owned();
            return Err(FileBackendError::Size { path, bytes });
        }
        Ok(Self {
            file,
            bytes,
            read_only,
            flush_failed: Mutex::new(false),
        })
    }

    /// Asks the host to change how a range is stored; `false` if it can't do that here.
    fn allocate(&self, mode: fn() -> FallocateMode, offset: u64, len: u64) -> io::Result<bool> {
        loop {
            match fallocate(&self.file, mode(), true, offset, len).map_err(io::Error::from) {
                Ok(()) => return Ok(true),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    // The range lies in the file; devices with larger sectors don't take parts of one.
                    Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL) => return Ok(false),
                    _ => return Err(error),
                },
            }
        }
    }

    fn write_zero_bytes(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = offset + len;
        let mut at = offset;
        while at < end {
            let now = usize::try_from(end - at).map_or(ZEROES.len(), |rest| rest.min(ZEROES.len()));
            self.file.write_all_at(&ZEROES[..now], at)?;
            at += now as u64;
        }
        Ok(())
    }
}

impl BlockBackend for FileBackend {
    fn size(&self) -> u64 {
        self.bytes
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read_at(&self, target: &mut ReadTarget<'_>, offset: u64) -> io::Result<()> {
        target.put_from_file(&self.file, offset, target.remaining())
    }

    fn write_at(&self, source: &mut WriteSource<'_>, offset: u64) -> io::Result<()> {
        source.write_to_file(&self.file, offset, source.remaining())
    }

    fn flush(&self) -> io::Result<()> {
        let mut failed = self
            .flush_failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *failed {
            return Err(io::Error::other("an earlier flush failed"));
        }
        let flushed = self.file.sync_data();
        *failed = flushed.is_err();
        flushed
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        // It is a hint, so it is fine if nothing comes of it.
        self.allocate(|| FallocateMode::PunchHole, offset, len)
            .map(drop)
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        if self.allocate(|| FallocateMode::ZeroRange, offset, len)? {
            return Ok(());
        }
        self.write_zero_bytes(offset, len)
    }

    fn unmap_to_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        if self.allocate(|| FallocateMode::PunchHole, offset, len)? {
            return Ok(());
        }
        self.write_zeroes(offset, len)
    }

    fn host_calls(&self) -> HostCalls {
        HostCalls::OpenFiles
    }
}

#[cfg(test)]
mod tests;
