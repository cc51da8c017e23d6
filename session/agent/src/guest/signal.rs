//! Signals by number.
#![expect(unsafe_code, reason = "nix knows no real-time signals")]

use std::io;

/// The highest signal number of Linux.
const MAX_SIGNAL: i32 = 64;

/// Who gets a signal.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    /// The guest's init.
    Init,
    /// Every process but init and the caller.
    Everyone,
    /// The process group that this process leads. The caller has not reaped it, so the number is still its own.
    Group(i32),
}

/// Sends a signal; `InvalidInput` if the number is none, or the group is none.
pub(super) fn send(target: Target, signal: i32) -> io::Result<()> {
    let pid = match target {
        Target::Init => 1,
        Target::Everyone => -1,
        Target::Group(leader) if leader > 1 => -leader,
        Target::Group(_) => return Err(io::ErrorKind::InvalidInput.into()),
    };
    if !(1..=MAX_SIGNAL).contains(&signal) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: kill takes two numbers and touches no memory of this process.
    let result = unsafe { libc::kill(pid, signal) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
