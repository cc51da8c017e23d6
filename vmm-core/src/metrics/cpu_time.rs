//! The processor time of a thread, for others to read.
//!
//! Invariant: the clock of a thread is only read while the thread is there. Who ends leaves its last figure first, as
//! its clock may be another thread's afterwards.

#![expect(unsafe_code, reason = "clocks of threads have no safe interface")]

use std::io;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libc::clockid_t;

/// The processor time of one thread.
#[derive(Debug, Default)]
pub(crate) struct CpuTime(Mutex<Side>);

#[derive(Debug, Clone, Copy, Default)]
enum Side {
    #[default]
    NotStarted,
    Running(clockid_t),
    Ended(Duration),
}

/// Counts the time of the thread that has it, until it is dropped there.
#[derive(Debug)]
pub(crate) struct CpuTimeGuard {
    time: Arc<CpuTime>,
    /// It stays on its thread.
    _not_send: PhantomData<*const ()>,
}

impl CpuTime {
    /// Counts what the calling thread uses, from its own beginning on.
    pub(crate) fn count_this_thread(self: &Arc<Self>) -> CpuTimeGuard {
        match clock_of_this_thread() {
            Ok(clock) => *self.side() = Side::Running(clock),
            Err(error) => tracing::warn!(%error, "a thread's processor time can't be read"),
        }
        CpuTimeGuard {
            time: Arc::clone(self),
            _not_send: PhantomData,
        }
    }

    /// What the thread has used so far, and nothing before it has started.
    pub(crate) fn read(&self) -> Duration {
        let side = self.side();
        match *side {
            Side::NotStarted => Duration::ZERO,
            // The thread can't end meanwhile: it would have to take the lock.
            Side::Running(clock) => now(clock),
            Side::Ended(last) => last,
        }
    }

    fn side(&self) -> MutexGuard<'_, Side> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CpuTimeGuard {
    fn drop(&mut self) {
        let mut side = self.time.side();
        if let Side::Running(clock) = *side {
            *side = Side::Ended(now(clock));
        }
    }
}

fn clock_of_this_thread() -> io::Result<clockid_t> {
    let mut clock = 0;
    // SAFETY: it always gives the thread that runs, which is there.
    let this = unsafe { libc::pthread_self() };
    // SAFETY: `this` is the thread that runs, and the call writes one number, to `clock`.
    match unsafe { libc::pthread_getcpuclockid(this, &raw mut clock) } {
        0 => Ok(clock),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// What the clock shows. Linux can read a clock that is there.
fn now(clock: clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call checks the clock's number, and writes to `time`, which lives for the call.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    debug_assert_eq!(result, 0, "the thread of a clock is there");
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds).saturating_add(Duration::from_nanos(
        time.tv_nsec.try_into().unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests;
