//! What goes through queues and interrupts, counted.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::{Counter, QueueMetrics};

/// Counts of one queue.
#[derive(Debug, Default)]
pub(crate) struct QueueCounters {
    kicks: Counter,
    /// How often the queue has written its own eventfd since that was read.
    own: AtomicU64,
    requests: Counter,
    refused: Counter,
    bytes_from_guest: Counter,
    bytes_to_guest: Counter,
}

impl QueueCounters {
    /// The queue's eventfd was written so often, by the driver or by the queue itself.
    pub(super) fn notified(&self, times: u64) {
        let own = self.own.swap(0, Ordering::Relaxed);
        self.kicks.add(times.saturating_sub(own));
    }

    pub(super) fn notified_itself(&self) {
        self.own.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.one();
    }

    /// A request was handed back that had so much to read, and so much written to.
    pub(super) fn done(&self, bytes_from_guest: u64, bytes_to_guest: u32) {
        self.requests.one();
        self.bytes_from_guest.add(bytes_from_guest);
        self.bytes_to_guest.add(bytes_to_guest.into());
    }

    pub(crate) fn read(&self) -> QueueMetrics {
        QueueMetrics {
            kicks: self.kicks.get(),
            requests: self.requests.get(),
            refused: self.refused.get(),
            bytes_from_guest: self.bytes_from_guest.get(),
            bytes_to_guest: self.bytes_to_guest.get(),
        }
    }
}

/// Counts of a device's interrupt.
#[derive(Debug, Default)]
pub(crate) struct InterruptCounters {
    pub(super) raised: Counter,
    pub(super) resets_needed: Counter,
}

impl InterruptCounters {
    /// How often it was raised, and how often because the device needed a reset.
    pub(crate) fn read(&self) -> (u64, u64) {
        (self.raised.get(), self.resets_needed.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kicks_of_the_driver_are_counted_alone_and_never_go_down() {
        let counters = QueueCounters::default();
        counters.notified(2);
        assert_eq!(counters.read().kicks, 2);
        counters.notified_itself();
        assert_eq!(counters.read().kicks, 2);
        counters.notified(3);
        assert_eq!(counters.read().kicks, 4);
    }
}
