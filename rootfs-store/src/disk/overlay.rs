//! The two files of one overlay: the blocks that were written, and the map that says which these are.
//!
//! Invariant: the map on disk never names a block whose bytes are not on disk.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::blocks::Blocks;
use super::map::{self, BLOCK_BYTES, Header, SECTOR_BYTES, open_sector, seal_sector};
use super::{DiskError, ReadInto, WriteFrom};
use crate::blobs::sync_dir;
use crate::files::{Files, StoreFile};

const DATA: &str = "overlay";
const MAP: &str = "map";
/// Marks a map that is still being written.
const UNFINISHED: &str = ".new";
/// Bytes of the buffer that writes zeros where holes can't be punched, and that reads a map.
const BUFFER_BYTES: usize = 128 * SECTOR_BYTES;

/// Which of a disk's overlays one is: those with higher numbers lie over those with lower ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number(pub(super) u32);

impl Number {
    /// The file of the blocks.
    pub(super) fn data(self, dir: &Path) -> PathBuf {
        dir.join(self.file_name(DATA))
    }

    /// The file that says which blocks there are. An overlay is there if and only if this is.
    pub(super) fn map(self, dir: &Path) -> PathBuf {
        dir.join(self.file_name(MAP))
    }

    fn file_name(self, kind: &str) -> String {
        match self.0 {
            0 => kind.to_owned(),
            number => format!("{kind}.{number}"),
        }
    }

    /// The overlay whose map has this name.
    pub(super) fn of_map(name: &str) -> Option<Self> {
        Self::of(MAP, name)
    }

    fn of(kind: &str, name: &str) -> Option<Self> {
        let number = match name.strip_prefix(kind)? {
            "" => 0,
            rest => rest.strip_prefix('.')?.parse().ok()?,
        };
        // The one way of writing the number.
        (Self(number).file_name(kind) == name).then_some(Self(number))
    }
}

/// Whether a file of this name belongs to an overlay, or to one that was not finished.
pub(super) fn is_file_name(name: &str) -> bool {
    let map = name.strip_suffix(UNFINISHED).unwrap_or(name);
    Number::of(MAP, map).is_some() || Number::of(DATA, name).is_some()
}

/// One overlay of a disk that this process holds.
#[derive(Debug)]
pub(crate) struct Overlay {
    pub(super) number: Number,
    dir: PathBuf,
    data: StoreFile,
    map: StoreFile,
    pub(super) blocks: Blocks,
    /// Sectors of the map that changed since the last flush.
    dirty: Mutex<BTreeSet<u64>>,
    /// Whether bytes were written since the last flush began.
    written: AtomicBool,
    /// Held during a flush, so that none returns before the one that took its sectors.
    flushing: Mutex<()>,
    /// A flush failed: what it should have made durable may be lost, so no later one may claim it.
    failed: AtomicBool,
}

impl Overlay {
    /// Makes the files of an empty overlay in `dir`, durably but for the folder's own name.
    pub(super) fn create(
        files: &Files,
        dir: &Path,
        number: Number,
        header: Header,
    ) -> Result<(), DiskError> {
        let make = |path: &Path, len: u64, start: &[u8]| -> io::Result<()> {
            let file = files.create(path)?;
            file.set_len(len)?;
            file.write_all_at(start, 0)?;
            file.sync_all()
        };
        let (data, map) = (number.data(dir), number.map(dir));
        let unfinished = map.with_added_extension(&UNFINISHED[1..]);
        make(&data, header.disk_bytes, &[]).map_err(io_error("create", &data))?;
        // The map's name says that there is an overlay, so it must not outlive a power cut alone.
        sync_dir(files, dir)?;
        make(
            &unfinished,
            map::file_len(header.disk_bytes),
            &header.to_bytes(),
        )
        .and_then(|()| files.rename(&unfinished, &map))
        .map_err(io_error("create", &map))?;
        Ok(sync_dir(files, dir)?)
    }

    /// Opens an overlay of a disk that is locked, with all that was flushed to it.
    pub(super) fn open(
        files: &Files,
        dir: &Path,
        number: Number,
    ) -> Result<(Self, Header), DiskError> {
        let (data_path, map_path) = (number.data(dir), number.map(dir));
        let map = open_file(files, &map_path)?;
        let (header, blocks) = load(map.get(), &map_path)?;
        let data = open_file(files, &data_path)?;
        check_len(data.get(), &data_path, &header)?;
        let overlay = Self {
            number,
            dir: dir.to_owned(),
            data,
            map,
            blocks,
            dirty: Mutex::default(),
            // By somebody who was killed before a flush, for all that is known; it can be read by now.
            written: AtomicBool::new(true),
            flushing: Mutex::default(),
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
        let metadata = self.data.get().metadata();
        Ok(metadata.map_err(self.data_error("inspect"))?.blocks() * 512)
    }

    pub(super) fn read_into(
        &self,
        target: &mut dyn ReadInto,
        offset: u64,
        len: usize,
    ) -> Result<(), DiskError> {
        target
            .put_from_file(self.data.get(), offset, len)
            .map_err(self.data_error("read"))
    }

    /// Writes bytes of blocks that [`Self::hold`] names afterwards.
    pub(super) fn write(&self, buf: &[u8], offset: u64) -> Result<(), DiskError> {
        let result = self.data.write_all_at(buf, offset);
        // After the write: a flush that began before must not take it for covered.
        self.written.store(true, Ordering::Release);
        result.map_err(self.data_error("write"))
    }

    /// As [`Self::write`], of the next `len` bytes of `source`.
    pub(super) fn write_from(
        &self,
        source: &mut dyn WriteFrom,
        offset: u64,
        len: usize,
    ) -> Result<(), DiskError> {
        let result = self.data.write_from(source, offset, len);
        self.written.store(true, Ordering::Release);
        result.map_err(self.data_error("write"))
    }

    /// Makes whole blocks read as zeros and gives their space back.
    pub(super) fn clear(&self, bytes: Range<u64>) -> Result<(), DiskError> {
        let result = self.data.punch_hole(bytes.clone());
        self.written.store(true, Ordering::Release);
        match result {
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

    /// Notes that the overlay holds these blocks, whose bytes were written.
    pub(super) fn hold(&self, blocks: Range<u64>) {
        // A bit that is seen set must have its sector among the dirty ones already, or a flush would miss it.
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        self.blocks.set(blocks, &mut dirty);
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
        let dirty = std::mem::take(&mut *self.dirty.lock().unwrap_or_else(PoisonError::into_inner));
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
        if self.written.swap(false, Ordering::AcqRel) {
            self.data.sync_data().map_err(self.data_error("sync"))?;
        }
        if sectors.is_empty() {
            return Ok(());
        }
        for (number, sector) in sectors {
            let at = (number + 1) * SECTOR_BYTES as u64;
            self.map
                .write_all_at(&sector, at)
                .map_err(self.map_error("write"))?;
        }
        self.sync_map()
    }

    /// Makes durable what the map on disk says now, however it got there.
    pub(super) fn sync_map(&self) -> Result<(), DiskError> {
        self.map.sync_data().map_err(self.map_error("sync"))
    }

    /// Says durably what the overlay lies over from now on.
    pub(super) fn set_header(&self, header: Header) -> Result<(), DiskError> {
        self.map
            .write_all_at(&header.to_bytes(), 0)
            .and_then(|()| self.map.sync_data())
            .map_err(self.map_error("write"))
    }

    fn data_error(&self, action: &'static str) -> impl FnOnce(io::Error) -> DiskError + use<> {
        io_error(action, &self.number.data(&self.dir))
    }

    fn map_error(&self, action: &'static str) -> impl FnOnce(io::Error) -> DiskError + use<> {
        io_error(action, &self.number.map(&self.dir))
    }
}

fn open_file(files: &Files, path: &Path) -> Result<StoreFile, DiskError> {
    files.open(path).map_err(io_error("open", path))
}

/// Checks all of an overlay's map, and the length of its blocks' file, whoever has the disk open.
pub(super) fn check(dir: &Path, number: Number, header: &Header) -> Result<(), DiskError> {
    let (data_path, map_path) = (number.data(dir), number.map(dir));
    let map = File::open(&map_path).map_err(io_error("open", &map_path))?;
    load(&map, &map_path)?;
    let data = File::open(&data_path).map_err(io_error("open", &data_path))?;
    check_len(&data, &data_path, header)
}

fn check_len(data: &File, path: &Path, header: &Header) -> Result<(), DiskError> {
    let metadata = data.metadata().map_err(io_error("inspect", path))?;
    let (found, expected) = (metadata.len(), header.disk_bytes);
    match found == expected {
        true => Ok(()),
        false => Err(DiskError::OverlayLength {
            path: path.to_owned(),
            found,
            expected,
        }),
    }
}

/// The header of a map, whoever has the disk open.
pub(super) fn read_header(path: &Path) -> Result<Header, DiskError> {
    let map = File::open(path).map_err(io_error("open", path))?;
    match parse_header(&map, path) {
        // Its holder may have been in the middle of writing it.
        Err(DiskError::Map { .. }) => parse_header(&map, path),
        result => result,
    }
}

fn parse_header(map: &File, path: &Path) -> Result<Header, DiskError> {
    let read = || -> io::Result<(u64, [u8; SECTOR_BYTES])> {
        let mut header = [0; SECTOR_BYTES];
        map.read_exact_at(&mut header, 0)?;
        Ok((map.metadata()?.len(), header))
    };
    let (len, header) = read().map_err(io_error("read", path))?;
    Header::parse(&header, len).map_err(|source| DiskError::Map {
        path: path.to_owned(),
        source,
    })
}

fn load(map: &File, path: &Path) -> Result<(Header, Blocks), DiskError> {
    let fault = |source| DiskError::Map {
        path: path.to_owned(),
        source,
    };
    let header = parse_header(map, path)?;
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
