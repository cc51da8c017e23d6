//! The files of a disk's folder: which overlays there are, and what a crash left of others.
//!
//! A live commit puts a new overlay over the one that it makes a snapshot of, and takes the lower one away when the new
//! one's header names that snapshot as its base. So the overlays of a disk are the highest one, and those below it for as
//! long as the one above says that it lies over the previous one.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::DiskError;
use super::map::Header;
use super::overlay::{Number, Overlay, io_error};
use crate::blobs::sync_dir;
use crate::files::Files;

/// Locks the folder of a disk: whoever holds it may use the disk, or remove it.
pub(super) fn lock(dir: &Path, id: &str) -> Result<File, DiskError> {
    let folder = File::open(dir).map_err(io_error("open", dir))?;
    let in_use = || DiskError::InUse { id: id.to_owned() };
    match folder.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use()),
        Err(TryLockError::Error(error)) => return Err(io_error("lock", dir)(error)),
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

/// Opens the overlays of a disk that is locked, from the lowest to the highest, with the lowest one's header; removes
/// what else a crash left in the folder.
pub(super) fn open(files: &Files, dir: &Path) -> Result<(Vec<Overlay>, Header), DiskError> {
    let mut numbers = list(dir)?;
    let (mut overlays, mut lowest) = (Vec::new(), None);
    while let Some(number) = numbers.pop() {
        let (overlay, header) = Overlay::open(files, dir, number)?;
        overlays.push(overlay);
        lowest = Some(header);
        if !header.over_previous {
            break;
        }
    }
    match lowest {
        Some(header) if !header.over_previous => {
            overlays.reverse();
            let kept: Vec<_> = overlays.iter().map(|overlay| overlay.number).collect();
            remove_others(files, dir, &kept)?;
            Ok((overlays, header))
        }
        _ => Err(DiskError::NoOverlay {
            dir: dir.to_owned(),
        }),
    }
}

/// Removes everything from a disk's folder but these overlays, durably.
pub(super) fn remove_others(files: &Files, dir: &Path, kept: &[Number]) -> Result<(), DiskError> {
    let kept: Vec<_> = kept
        .iter()
        .flat_map(|number| [number.data(dir), number.map(dir)])
        .collect();
    let mut removed = false;
    for entry in fs::read_dir(dir).map_err(io_error("list", dir))? {
        let path = entry.map_err(io_error("list", dir))?.path();
        if !kept.contains(&path) {
            files
                .remove_file(&path)
                .map_err(io_error("remove", &path))?;
            removed = true;
        }
    }
    if removed {
        sync_dir(files, dir)?;
    }
    Ok(())
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
