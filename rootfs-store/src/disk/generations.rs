//! The files of a disk's folder: which overlays there are, and what a crash left of others.
//!
//! A live commit puts a new overlay over the one that it makes a snapshot of, and takes the lower one away when the new
//! one's header names that snapshot as its base. So the overlays of a disk are the highest one, and those below it for
//! as long as the one above says that it lies over the previous one.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::DiskError;
use super::map::Header;
use super::overlay::{self, Number, Overlay, io_error, read_header};
use crate::blobs::sync_dir;
use crate::digest::SnapshotDigest;
use crate::files::Files;

/// How often a lock is tried again that somebody holds, and how long after.
const LOCK_TRIES: usize = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// Locks the folder of a disk: whoever holds it may use the disk, or remove it.
pub(super) fn lock(dir: &Path, id: &str) -> Result<File, DiskError> {
    let folder = File::open(dir).map_err(io_error("open", dir))?;
    let in_use = || DiskError::InUse { id: id.to_owned() };
    let mut tries = LOCK_TRIES;
    loop {
        match folder.try_lock() {
            Ok(()) => break,
            // A child process shares the locks of its parent, until it runs its own program.
            Err(TryLockError::WouldBlock) if tries > 0 => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => return Err(in_use()),
            Err(TryLockError::Error(error)) => return Err(io_error("lock", dir)(error)),
        }
        tries -= 1;
    }
    // Between being opened and locked, the disk may have been removed, and another one made.
    let inode = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let held = folder.metadata().map(inode);
    let held = held.map_err(io_error("inspect", dir))?;
    match dir.metadata().map(inode) {
        Ok(there) if there == held => Ok(folder),
        _ => Err(in_use()),
    }
}

/// Opens the overlays of a disk that is locked, from the lowest to the highest, with the lowest one's header; makes
/// durable what was found, and removes what else a crash left in the folder.
pub(super) fn open(files: &Files, dir: &Path) -> Result<(Vec<Overlay>, Header), DiskError> {
    let mut numbers = list(dir)?;
    let (mut overlays, mut lowest) = (Vec::new(), None);
    while let Some(number) = numbers.pop() {
        let (overlay, header) = Overlay::open(files, dir, number)?;
        check_size(dir, number, &header, lowest.as_ref())?;
        overlays.push(overlay);
        lowest = Some(header);
        if !header.over_previous {
            break;
        }
    }
    match lowest {
        Some(header) if !header.over_previous => {
            overlays.reverse();
            // Who had the disk before may have been killed between a write and its sync. What a header says must not
            // be taken back once the overlays are gone that it does without.
            overlays.iter().try_for_each(Overlay::sync_map)?;
            sync_dir(files, dir)?;
            let kept: Vec<_> = overlays.iter().map(|overlay| overlay.number).collect();
            remove_others(files, dir, &kept)?;
            Ok((overlays, header))
        }
        _ => Err(DiskError::NoOverlay {
            dir: dir.to_owned(),
        }),
    }
}

/// All overlays of a disk are as large as the disk.
fn check_size(
    dir: &Path,
    number: Number,
    header: &Header,
    above: Option<&Header>,
) -> Result<(), DiskError> {
    match above {
        Some(above) if above.disk_bytes != header.disk_bytes => Err(DiskError::OverlayLength {
            path: number.data(dir),
            found: header.disk_bytes,
            expected: above.disk_bytes,
        }),
        _ => Ok(()),
    }
}

/// Removes all overlays from a disk's folder but these, durably; what is not called like one is not ours.
///
/// One of them may be the highest, so its map goes first: an overlay is there if and only if that is.
pub(super) fn remove_others(files: &Files, dir: &Path, kept: &[Number]) -> Result<(), DiskError> {
    let kept: Vec<_> = kept
        .iter()
        .flat_map(|number| [number.data(dir), number.map(dir)])
        .collect();
    let (mut maps, mut others) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir).map_err(io_error("list", dir))? {
        let path = entry.map_err(io_error("list", dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(name) = name.filter(|name| overlay::is_file_name(name))
            && !kept.contains(&path)
        {
            match Number::of_map(name) {
                Some(_) => maps.push(path),
                None => others.push(path),
            }
        }
    }
    for paths in [maps, others] {
        for path in &paths {
            files.remove_file(path).map_err(io_error("remove", path))?;
        }
        if !paths.is_empty() {
            sync_dir(files, dir)?;
        }
    }
    Ok(())
}

/// The snapshots that the overlays of a disk lie over, whoever has it open; nothing if it is gone.
pub(crate) fn bases(dir: &Path) -> Result<Vec<SnapshotDigest>, DiskError> {
    let mut bases = Vec::new();
    let stack = match stack(dir) {
        Err(error) if is_absence(&error) => return Ok(bases),
        stack => stack?,
    };
    for (_, header) in stack {
        match header {
            Ok(header) => bases.push(header.base),
            // Its snapshot has taken its place.
            Err(error) if is_absence(&error) => {}
            Err(error) => return Err(error),
        }
    }
    bases.sort_unstable();
    bases.dedup();
    Ok(bases)
}

/// Overlays, each with its header or what is wrong with that.
type Headers = Vec<(Number, Result<Header, DiskError>)>;

/// The headers of a disk's overlays from the highest to the lowest; what a crash left below is not among them.
fn stack(dir: &Path) -> Result<Headers, DiskError> {
    let mut numbers = list(dir)?;
    let mut headers: Headers = Vec::new();
    while let Some(number) = numbers.pop() {
        let above = headers.last().and_then(|(_, header)| header.as_ref().ok());
        let header = read_header(&number.map(dir)).and_then(|header| {
            check_size(dir, number, &header, above)?;
            Ok(header)
        });
        let is_lowest = header.as_ref().is_ok_and(|header| !header.over_previous);
        headers.push((number, header));
        if is_lowest {
            break;
        }
    }
    Ok(headers)
}

fn is_absence(error: &DiskError) -> bool {
    matches!(error, DiskError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// Makes durable what the maps of a disk say, and which there are, whoever has it open.
pub(super) fn settle(files: &Files, dir: &Path) -> Result<(), DiskError> {
    for number in list(dir)? {
        let path = number.map(dir);
        match files.open(&path).and_then(|map| map.sync_data()) {
            // Its snapshot has taken its place.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            synced => synced.map_err(io_error("sync", &path))?,
        }
    }
    Ok(sync_dir(files, dir)?)
}

/// How often a disk is looked at that its holder may be in the middle of changing.
const TRIES: usize = 4;

/// What is wrong with the overlays of a disk, whoever has it open, by the map.
pub(crate) fn check(dir: &Path) -> Vec<(PathBuf, DiskError)> {
    let look = || match stack(dir) {
        Err(error) => vec![(dir.to_owned(), error)],
        Ok(stack) => {
            let check = |(number, header): (Number, Result<Header, DiskError>)| {
                let checked = header.and_then(|header| overlay::check(dir, number, &header));
                Some((number.map(dir), checked.err()?))
            };
            stack.into_iter().filter_map(check).collect()
        }
    };
    let mut wrong = look();
    for _ in 1..TRIES {
        if !wrong.is_empty() {
            wrong = look();
        }
    }
    wrong
}

/// Bytes that the overlays of a disk take on the host, whoever has it open.
pub(crate) fn allocated_bytes(dir: &Path) -> Result<u64, DiskError> {
    let mut bytes = 0;
    for number in list(dir)? {
        let path = number.data(dir);
        match path.metadata() {
            Ok(metadata) => bytes += metadata.blocks() * 512,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("inspect", &path)(error)),
        }
    }
    Ok(bytes)
}

/// The numbers of all overlays that have a map, ascending.
fn list(dir: &Path) -> Result<Vec<Number>, DiskError> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error("list", dir))? {
        let name = entry.map_err(io_error("list", dir))?.file_name();
        numbers.extend(name.to_str().and_then(Number::of_map));
    }
    numbers.sort_unstable();
    Ok(numbers)
}
