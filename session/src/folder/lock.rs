//! The lock file in a session's folder.
//!
//! Invariant: a lock that was got is on the file that the folder holds at that moment, not on one that was
//! removed meanwhile.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

const FILE: &str = "lock";

/// How often, and with which pauses, a lock is tried again: whoever only looks at a session holds it for an instant.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(5);

/// A held lock; it ends when this is dropped, or with the process.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Locks the session for its owner; `None` if it has one.
    pub(super) fn try_exclusive(folder: &Path) -> io::Result<Option<Self>> {
        for _ in 0..TRIES {
            if let Some(lock) = attempt(folder, File::try_lock)? {
                return Ok(Some(lock));
            }
            thread::sleep(PAUSE);
        }
        Ok(None)
    }

    /// Leaves `time` on the lock as a sign of life.
    pub(super) fn beat(&self, time: SystemTime) -> io::Result<()> {
        self.file.set_modified(time)
    }

    /// The last sign of life, or when the lock was made.
    pub(super) fn last_beat(&self) -> io::Result<SystemTime> {
        self.file.metadata()?.modified()
    }

    /// Keeps owners out for a moment; `None` if the session has one.
    pub(super) fn try_shared(folder: &Path) -> io::Result<Option<Self>> {
        attempt(folder, File::try_lock_shared)
    }
}

fn attempt(
    folder: &Path,
    lock: impl Fn(&File) -> Result<(), TryLockError>,
) -> io::Result<Option<Lock>> {
    let path = folder.join(FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)?;
    match lock(&file) {
        Ok(()) => {
            // A file of the same number that is not the same can't be there while this one is open.
            let is_current = fs::metadata(&path)?.ino() == file.metadata()?.ino();
            Ok(is_current.then_some(Lock { file }))
        }
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
