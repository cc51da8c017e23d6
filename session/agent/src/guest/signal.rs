//! Signals by number.
#![expect(
    unsafe_code,
    reason = "nix knows no real-time signals, and none that carry a value"
)]

#[cfg(test)]
mod tests;

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::time::Duration;

use nix::sys::signal::SigSet;

/// The highest signal number of Linux.
const MAX_SIGNAL: i32 = 64;

/// Who gets a signal.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    /// The guest's init.
    Init,
    /// Every process but init and the caller.
    Everyone,
    /// One process.
    Process(u32),
    /// The process group that this process leads. The caller has not reaped it, so the number is still its own.
    Group(i32),
}

/// Sends a signal; `InvalidInput` if the number is none, or the group is none.
pub(super) fn send(target: Target, signal: i32) -> io::Result<()> {
    let pid = match target {
        Target::Init => 1,
        Target::Everyone => -1,
        Target::Process(pid) => i32::try_from(pid)
            .ok()
            .filter(|pid| *pid > 1)
            .ok_or(io::ErrorKind::InvalidInput)?,
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

/// Sends init a signal with a time, which comes whole up to 49 days.
pub(super) fn send_with_time(signal: i32, time: Duration) -> io::Result<()> {
    // SAFETY: sigqueue takes numbers and a value that nobody takes for an address.
    let result = unsafe { libc::sigqueue(1, signal, to_value(time)) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn to_value(time: Duration) -> libc::sigval {
    let millis = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    libc::sigval {
        sival_ptr: ptr::without_provenance_mut(millis as usize),
    }
}

/// A signal that was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) signal: i32,
    /// What [`send_with_time`] sent with it.
    pub(super) time: Option<Duration>,
}

/// Waits for one of these signals, which the caller has blocked.
pub(super) fn wait(signals: &SigSet) -> io::Result<Received> {
    let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
    // SAFETY: both are valid for the call, which writes to the second alone.
    let signal = unsafe { libc::sigwaitinfo(signals.as_ref(), info.as_mut_ptr()) };
    if signal < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has filled it, as it did not fail.
    let info = unsafe { info.assume_init() };
    let time = (info.si_code == libc::SI_QUEUE).then(|| {
        // SAFETY: a signal that was queued has a value, and any bits are one.
        let value = unsafe { info.si_value() };
        let millis = u32::try_from(value.sival_ptr.addr()).unwrap_or(u32::MAX);
        Duration::from_millis(u64::from(millis))
    });
    Ok(Received { signal, time })
}
