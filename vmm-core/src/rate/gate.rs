//! A device's place at a limiter.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};
use vmm_sys_util::timerfd::TimerFd;

use super::RateLimiter;

/// The longest time that a timer is set for; who wakes asks again.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// What a device's thread asks before it serves a request, and what wakes it when a request that had to wait may be
/// asked for again.
#[derive(Debug)]
pub(crate) struct RateGate {
    limiter: RateLimiter,
    timer: TimerFd,
    changed: Arc<EventFd>,
}

impl RateGate {
    /// How many descriptors [`sources`](Self::sources) has.
    pub(crate) const SOURCES: usize = 2;

    pub(crate) fn new(limiter: &RateLimiter) -> io::Result<Self> {
        let changed = Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?);
        limiter.watch(&changed);
        Ok(Self {
            limiter: limiter.clone(),
            timer: TimerFd::new().map_err(io::Error::from)?,
            changed,
        })
    }

    /// Descriptors that are readable when a refused request should be tried again: for
    /// [`Handler::sources`](crate::virtio::Handler::sources).
    pub(crate) fn sources(&self) -> [RawFd; Self::SOURCES] {
        [self.timer.as_raw_fd(), self.changed.as_raw_fd()]
    }

    /// Reads the sources empty: to be called when one of them is readable, before requests are tried.
    pub(crate) fn rearm(&mut self) {
        // Disarming takes expirations back that nobody has read; it fails for no timer that is open.
        let _disarmed = self.timer.clear();
        let _count = self.changed.read();
    }

    /// Whether a request of so many operations and bytes may pass now. If not, a source becomes readable when it may
    /// be tried again.
    pub(crate) fn admits(&mut self, operations: u64, bytes: u64) -> bool {
        match self.limiter.take(Instant::now(), operations, bytes) {
            Ok(()) => true,
            Err(wait) => self.timer.reset(wait.min(MAX_WAIT), None).is_err(),
        }
    }

    /// The device was reset: nothing waits any more.
    pub(crate) fn forget(&mut self) {
        let _disarmed = self.timer.clear();
    }
}
