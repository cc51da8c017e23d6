//! The two files of a writable disk: the blocks that were written, and the map that says which these are.
//!
//! Invariant: the map on disk never names a block whose bytes are not on disk.

use std::collections::BTreeSet;
use std::fs::{self, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::DiskError;
use super::blocks::Blocks;
use super::map::{self, BLOCK_BYTES, Header, SECTOR_BYTES, open_sector, seal_sector};
use crate::blobs::sync_dir;
use crate::files::{Files, StoreFile};

const DATA: &str = "overlay";
/// The map, which is locked while the disk is open.
pub(crate) const MAP: &str = "map";
/// Bytes of the buffer that writes zeros where holes can't be punched, and that reads a map.
const BUFFER_BYTES: usize = 128 * SECTOR_BYTES;

/// The overlay of one disk, held by this process alone.
#[derive(Debug)]
pub(super) struct Overlay {
    dir: PathBuf,
    data: StoreFile,
    map: StoreFile,
    pub(super) blocks: Blocks,
    /// Sectors of the map that changed since the last flush; held while blocks are written.
    pub(super) writing: Mutex<BTreeSet<u64>>,
    /// Held during a flush, so that none returns before the one that took its sectors.
    flushing: Mutex<()>,
    /// A flush failed: what it should have made durable may be lost, so no later one may claim it.
    failed: AtomicBool,
}

impl Overlay {
    /// Makes the files of an empty overlay in `dir`, durably but for the folder's own name.
    pub(super) fn create(files: &Files, dir: &Path, header: Header) -> Result<(), DiskError> {
        let make = |name: &str, len: u64, start: &[u8]| -> io::Result<()> {
            let file = files.create(&dir.join(name))?;
            file.set_len(len)?;
            file.write_all_at(start, 0)?;
            file.sync_all()
        };
        make(DATA, header.disk_bytes, &[]).map_err(io_error("create", &dir.join(DATA)))?;
        make(MAP, map::file_len(header.disk_bytes), &header.to_bytes())
            .map_err(io_error("create", &dir.join(MAP)))?;
        Ok(sync_dir(files, dir)?)
    }

    /// Opens and locks the overlay in `dir` with all that was flushed to it.
    pub(super) fn open(files: &Files, dir: &Path, id: &str) -> Result<(Self, Header), DiskError> {
        let map = lock(files, dir, id)?;
        let (header, blocks) = load(&map, &dir.join(MAP))?;
        let data = open_file(files, &dir.join(DATA))?;
        let found = data
            .get()
            .metadata()
            .map_err(io_error("inspect", &dir.join(DATA)))?
            .len();
        if found != header.disk_bytes {
            let path = dir.join(DATA);
            return Err(DiskError::OverlayLength {
                path,
                found,
                expected: header.disk_bytes,
            });
        }
        let overlay = Self {
            dir: dir.to_owned(),
            data,
            map,
            blocks,
            writing: Mutex::new(BTreeSet::new()),
            flushing: Mutex::new(()),
            failed: AtomicBool::new(false),
        };
        Ok((overlay, header))
    }

    /// The same overlay after its folder was renamed.
    pub(super) fn at(self, dir: PathBuf) -> Self {
        Self { dir, ..self }
    }

    /// Bytes that the written blocks take on the host.
    pub(super) fn allocated_bytes(&self) -> Result<u64, DiskError> {
        let metadata = self
            .data
            .get()
            .metadata()
            .map_err(self.data_error("inspect"))?;
        Ok(metadata.blocks() * 512)
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        self.data
            .get()
            .read_exact_at(buf, offset)
            .map_err(self.data_error("read"))
    }

    pub(super) fn write(&self, buf: &[u8], offset: u64) -> Result<(), DiskError> {
        self.data
            .write_all_at(buf, offset)
            .map_err(self.data_error("write"))
    }

    /// Makes whole blocks read as zeros and gives their space back.
    pub(super) fn clear(&self, bytes: Range<u64>) -> Result<(), DiskError> {
        match self.data.punch_hole(bytes.clone()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => self.write_zeros(bytes),
            Err(error) => Err(self.data_error("punch a hole into")(error)),
        }
    }

    fn write_zeros(&self, bytes: Range<u64>) -> Result<(), DiskError> {
        let zeros = [0; BUFFER_BYTES];
        let mut at = bytes.start;
        while at < bytes.end {
            let len =
                usize::try_from(bytes.end - at).map_or(zeros.len(), |len| len.min(zeros.len()));
            self.write(&zeros[..len], at)?;
            at += len as u64;
        }
        Ok(())
    }

    /// Makes all that was written durable: first the blocks, then the map that names them.
    pub(super) fn flush(&self) -> Result<(), DiskError> {
        let _one_at_a_time = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.failed.load(Ordering::Acquire) {
            return Err(DiskError::FlushFailed {
                dir: self.dir.clone(),
            });
        }
        let result = self.flush_files();
        if result.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        result
    }

    fn flush_files(&self) -> Result<(), DiskError> {
        let dirty =
            std::mem::take(&mut *self.writing.lock().unwrap_or_else(PoisonError::into_inner));
        // Taken before the blocks are synced: bits that are set meanwhile may belong to blocks that this misses.
        let sectors: Vec<_> = dirty
            .into_iter()
            .map(|number| {
                (
                    number,
                    seal_sector(number, &self.blocks.save_sector(number)),
                )
            })
            .collect();
        self.data.sync_data().map_err(self.data_error("sync"))?;
        if sectors.is_empty() {
            return Ok(());
        }
        let map_error = |action| io_error(action, &self.dir.join(MAP));
        for (number, sector) in sectors {
            let at = (number + 1) * SECTOR_BYTES as u64;
            self.map
                .write_all_at(&sector, at)
                .map_err(map_error("write"))?;
        }
        self.map.sync_data().map_err(map_error("sync"))
    }

    fn data_error(&self, action: &'static str) -> impl FnOnce(io::Error) -> DiskError + use<> {
        io_error(action, &self.dir.join(DATA))
    }
}

/// Locks the map of the disk in `dir`: whoever holds it may use the disk, or remove it.
pub(super) fn lock(files: &Files, dir: &Path, id: &str) -> Result<StoreFile, DiskError> {
    let path = dir.join(MAP);
    let map = open_file(files, &path)?;
    let in_use = || DiskError::InUse { id: id.to_owned() };
    match map.get().try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use()),
        Err(TryLockError::Error(error)) => return Err(io_error("lock", &path)(error)),
    }
    // Between being opened and locked, the disk may have been removed, and another one made.
    let inode = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let held = map
        .get()
        .metadata()
        .map(inode)
        .map_err(io_error("inspect", &path))?;
    match path.metadata().map(inode) {
        Ok(there) if there == held => Ok(map),
        _ => Err(in_use()),
    }
}

fn open_file(files: &Files, path: &Path) -> Result<StoreFile, DiskError> {
    files.open(path).map_err(io_error("open", path))
}

fn load(map: &StoreFile, path: &Path) -> Result<(Header, Blocks), DiskError> {
    let map = map.get();
    let read_error = io_error("read", path);
    let fault = |source| DiskError::Map {
        path: path.to_owned(),
        source,
    };
    let read = || -> io::Result<(u64, [u8; SECTOR_BYTES])> {
        let mut header = [0; SECTOR_BYTES];
        map.read_exact_at(&mut header, 0)?;
        Ok((map.metadata()?.len(), header))
    };
    let (len, header) = read().map_err(read_error)?;
    let header = Header::parse(&header, len).map_err(fault)?;
    let blocks = Blocks::new(header.disk_bytes / BLOCK_BYTES);
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut number, sectors) = (0, blocks.sectors());
    while number < sectors {
        let count = usize::try_from(sectors - number).map_or(128, |left| left.min(128));
        let bytes = &mut buffer[..count * SECTOR_BYTES];
        map.read_exact_at(bytes, (number + 1) * SECTOR_BYTES as u64)
            .map_err(io_error("read", path))?;
        for sector in bytes.as_chunks().0 {
            blocks.load_sector(number, &open_sector(number, sector).map_err(fault)?);
            number += 1;
        }
    }
    Ok((header, blocks))
}

pub(super) fn io_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> DiskError + use<> {
    let path = path.to_owned();
    move |source| DiskError::Io {
        action,
        path,
        source,
    }
}
