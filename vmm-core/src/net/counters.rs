//! What went through a network device.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of a network device's frames since its VM started.
#[derive(Debug, Default)]
pub struct NetCounters {
    received: Direction,
    sent: Direction,
}

/// Frames of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetTraffic {
    /// Frames that arrived.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that were dropped: too short, too long, malformed, or without a network to go to.
    pub dropped: u64,
}

#[derive(Debug, Default)]
pub(super) struct Direction {
    frames: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
}

impl NetCounters {
    /// Frames that the guest received.
    #[must_use]
    pub fn received(&self) -> NetTraffic {
        self.received.get()
    }

    /// Frames that the guest sent.
    #[must_use]
    pub fn sent(&self) -> NetTraffic {
        self.sent.get()
    }

    pub(super) fn receive_side(&self) -> &Direction {
        &self.received
    }

    pub(super) fn send_side(&self) -> &Direction {
        &self.sent
    }
}

impl Direction {
    pub(super) fn passed(&self, bytes: usize) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self, reason: &'static str) {
        // Not louder: guests and networks can bring this about as often as they like.
        tracing::debug!(reason, "dropped a frame");
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> NetTraffic {
        NetTraffic {
            frames: self.frames.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}
