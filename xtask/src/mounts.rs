//! File systems that a killed debootstrap has left mounted, which must go before the folder they are in.
//!
//! Removing a folder removes what is mounted below it: `/proc` harmlessly, the machine's own folders not so.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{self, CommandError};
use crate::file_error::{FileError, file_error};

const LIST: &str = "/proc/self/mountinfo";

/// Mounts that could not be taken away.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum MountError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{path} is still mounted; unmount it and run again")]
    Unmount { path: PathBuf, source: CommandError },
    #[error("{path} was mounted again as soon as it was unmounted")]
    Still { path: PathBuf },
}

/// Removes `folder` with all that is in it, but nothing of what is mounted there. There may be no such folder.
///
/// # Errors
/// [`MountError`]; as long as something is mounted there, nothing is removed.
pub(crate) fn remove_folder(folder: &Path) -> Result<(), MountError> {
    let removed = match folder.canonicalize() {
        Ok(real) => detach(&real).map(|()| fs::remove_dir_all(folder))?,
        Err(error) => Err(error),
    };
    match removed {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(file_error("remove", folder)(source).into())
        }
        _ => Ok(()),
    }
}

fn detach(folder: &Path) -> Result<(), MountError> {
    for path in mounted_below(folder)? {
        let unmounted = command::run(Command::new("umount").arg("-l").arg(&path));
        unmounted.map_err(|source| MountError::Unmount { path, source })?;
    }
    match mounted_below(folder)?.into_iter().next() {
        Some(path) => Err(MountError::Still { path }),
        None => Ok(()),
    }
}

fn mounted_below(folder: &Path) -> Result<Vec<PathBuf>, MountError> {
    let list = fs::read(LIST).map_err(file_error("read", Path::new(LIST)))?;
    Ok(below(&list, folder))
}

/// The mount points at and below `folder`, the deepest first, and of several at one place the last.
fn below(mountinfo: &[u8], folder: &Path) -> Vec<PathBuf> {
    let lines = mountinfo.split(|byte| *byte == b'\n').rev();
    let mut points: Vec<_> = lines
        // See proc(5): the fifth field is the mount point.
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(unescaped)
        .filter(|point| point.starts_with(folder))
        .collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    points
}

/// Undoes the kernel's `\040` for a blank, and the like.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let (byte, tail) = match rest {
            [
                b'\\',
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                tail @ ..,
            ] => ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), tail),
            _ => (*first, tail),
        };
        bytes.push(byte);
        rest = tail;
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests;
