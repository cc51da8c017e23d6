//! What was moved, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// What went between us and registries since [`crate::Registries`] was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegistryMetrics {
    /// Requests that were sent, those for tokens, redirects and retries included.
    pub requests: u64,
    /// Requests that failed and were tried again.
    pub retries: u64,
    /// Tokens that were fetched.
    pub tokens: u64,
    /// Bytes of bodies that were read.
    pub bytes_in: u64,
    /// Bytes of bodies that were sent.
    pub bytes_out: u64,
}

/// The counters behind [`RegistryMetrics`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) tokens: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
}

impl Counters {
    pub(crate) fn snapshot(&self) -> RegistryMetrics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RegistryMetrics {
            requests: read(&self.requests),
            retries: read(&self.retries),
            tokens: read(&self.tokens),
            bytes_in: read(&self.bytes_in),
            bytes_out: read(&self.bytes_out),
        }
    }
}

/// Adds to a counter; they are statistics, so their order with anything else does not matter.
pub(crate) fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}
