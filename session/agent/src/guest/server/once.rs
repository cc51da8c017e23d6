//! What is done once in the life of a machine: marks on its disk.
//!
//! Invariant: a mark is on the disk only after all that was done before it.

#[cfg(test)]
mod tests;

use std::io;

use agent::protocol::{Failure, FailureKind, Once};
use nix::unistd::sync;

use crate::guest::identity::{Attributes, Root};

const FOLDER: &str = "/var/lib/vm-session/tasks";
const MAX_MARK: u64 = 256;

/// Fails with [`FailureKind::DoneBefore`] if it was.
pub(super) fn check(root: &Root, once: &Once) -> Result<(), Failure> {
    let path = path(once)?;
    // A mark that can't be read says nothing.
    let found = root.read(&path, MAX_MARK).ok().flatten();
    if found.is_some_and(|mark| mark == once.machine.as_bytes()) {
        return Err(Failure {
            kind: FailureKind::DoneBefore,
            message: format!("{} was done before", once.task),
        });
    }
    Ok(())
}

/// Marks it as done.
pub(super) fn mark(root: &Root, once: &Once) -> Result<(), Failure> {
    let path = path(once)?;
    sync();
    let file = Attributes::of_root(0o644);
    let folder = Attributes::of_root(0o755);
    match root.write(&path, once.machine.as_bytes(), file, folder) {
        Ok(_) => Ok(()),
        Err(error) => Err(failure(once, &error)),
    }
}

fn path(once: &Once) -> Result<String, Failure> {
    if once.task.is_empty() || once.task.contains(['/', '.', '\0']) {
        let error = io::Error::from(io::ErrorKind::InvalidInput);
        return Err(failure(once, &error));
    }
    Ok(format!("{FOLDER}/{}", once.task))
}

fn failure(once: &Once, error: &io::Error) -> Failure {
    Failure {
        kind: FailureKind::System,
        message: format!("could not mark {:?} as done: {error}", once.task),
    }
}
