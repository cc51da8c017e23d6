//! From a raw disk to a snapshot.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::chunk::DEFAULT_CHUNK_BYTES;
use crate::import::Imported;
use crate::manifest::MAX_DISK_BYTES;
use crate::pack::PACK_BYTES;
use crate::plain_disk::PlainDisk;
use crate::progress::Progress;
use crate::store::{Store, StoreError};

/// Why a raw disk could not be imported; no snapshot was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportDiskError {
    /// The file could not be read.
    #[error("could not {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It is something else than a file or a block device.
    #[error("{path} is no raw disk: name a file or a block device")]
    NoDisk {
        /// What was named.
        path: PathBuf,
    },
    /// No disk can have its size.
    #[error("{path} has {bytes} bytes, but a disk has 1 to {MAX_DISK_BYTES}")]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Makes a snapshot of a raw disk: a file, in which holes are passed over, or a block device. Its size is rounded
    /// up to whole chunks, with zeros. The same bytes give the same snapshot in every store.
    ///
    /// Nobody should write to it meanwhile: the snapshot then holds some of what was written. The snapshot has no name
    /// yet; [`Imported::lease`] keeps it.
    ///
    /// # Errors
    /// [`ImportDiskError`].
    pub fn import_disk(
        &self,
        path: &Path,
        progress: &dyn Progress,
    ) -> Result<Imported, ImportDiskError> {
        let raw = RawDisk::open(path)?;
        let chunk_len = u64::from(DEFAULT_CHUNK_BYTES);
        let occupied = raw.occupied_chunks(chunk_len)?;
        let disk = PlainDisk {
            disk_bytes: raw.bytes.next_multiple_of(chunk_len),
            count: occupied
                .iter()
                .map(|chunks| chunks.end - chunks.start)
                .sum(),
            occupied: occupied.into_iter().flatten(),
            read: &|chunk, buffer: &mut [u8]| raw.read(buffer, chunk * chunk_len),
            pack_bytes: PACK_BYTES,
        };
        self.seal_plain(disk, progress)
    }
}

struct RawDisk {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl RawDisk {
    fn open(path: &Path) -> Result<Self, ImportDiskError> {
        let error = |action| io_error(action, path);
        // Before it is opened, which would wait for a pipe's other end.
        let kind = path.metadata().map_err(error("inspect"))?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(ImportDiskError::NoDisk {
                path: path.to_owned(),
            });
        }
        let file = File::open(path).map_err(error("open"))?;
        // A block device's metadata have no length.
        let end = seek(&file, SeekFrom::End(0));
        let bytes = end.map_err(|errno| error("find the end of")(errno.into()))?;
        if bytes == 0 || bytes > MAX_DISK_BYTES {
            return Err(ImportDiskError::Size {
                path: path.to_owned(),
                bytes,
            });
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            bytes,
        })
    }

    /// Numbers of the chunks that are not all holes, ascending.
    fn occupied_chunks(&self, chunk_len: u64) -> Result<Vec<Range<u64>>, ImportDiskError> {
        let mut occupied: Vec<Range<u64>> = Vec::new();
        let mut at = 0;
        while let Some((start, end)) = self.data_from(at)? {
            let (first, past) = (start / chunk_len, end.div_ceil(chunk_len));
            match occupied.last_mut() {
                Some(last) if first <= last.end => last.end = past.max(last.end),
                _ => occupied.push(first..past),
            }
            at = end;
        }
        Ok(occupied)
    }

    /// The next range of bytes that are no hole.
    fn data_from(&self, at: u64) -> Result<Option<(u64, u64)>, ImportDiskError> {
        if at >= self.bytes {
            return Ok(None);
        }
        let start = match seek(&self.file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but holes is left.
            Err(Errno::NXIO) => return Ok(None),
            // All is data where holes can't be told.
            Err(Errno::INVAL) => return Ok(Some((at, self.bytes))),
            Err(errno) => return Err(io_error("look for data in", &self.path)(errno.into())),
        };
        // It may grow meanwhile.
        let start = start.min(self.bytes);
        match seek(&self.file, SeekFrom::Hole(start)) {
            Ok(end) => Ok(Some((
                start,
                end.clamp(start + 1, self.bytes.max(start + 1)),
            ))),
            Err(Errno::NXIO) => Ok(None),
            Err(errno) => Err(io_error("look for holes in", &self.path)(errno.into())),
        }
    }

    /// Reads what there is, and zeros past the end.
    fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), ImportDiskError> {
        let there = usize::try_from(self.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (there, past) = buffer.split_at_mut(there.min(buffer.len()));
        past.fill(0);
        self.file
            .read_exact_at(there, offset)
            .map_err(io_error("read", &self.path))
    }
}

fn io_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> ImportDiskError + use<> {
    let path = path.to_owned();
    move |source| ImportDiskError::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests;
