//! Telling the owner of a VM that its disk fails, without a guest being able to flood it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::{DiskOperation, Event, Events};

/// The least time between two reports.
const INTERVAL: Duration = Duration::from_secs(1);

/// The reports of one drive.
#[derive(Debug, Default)]
pub(crate) struct ErrorReports {
    drive: usize,
    events: Events,
    last: Option<Instant>,
    unreported: u64,
}

impl ErrorReports {
    pub(crate) fn new(drive: usize, events: Events) -> Self {
        Self {
            drive,
            events,
            ..Self::default()
        }
    }

    /// Reports that the backend failed `operation` at `now`, or counts it.
    pub(super) fn report(&mut self, operation: DiskOperation, error: io::Error, now: Instant) {
        let is_early = |last| now.saturating_duration_since(last) < INTERVAL;
        if self.last.is_some_and(is_early) {
            self.unreported += 1;
            return;
        }
        self.last = Some(now);
        let (drive, unreported) = (self.drive, std::mem::take(&mut self.unreported));
        tracing::warn!(%error, drive, ?operation, unreported, "a disk request failed");
        self.events.tell(Event::IoError {
            drive,
            operation,
            error: Arc::new(error),
            unreported,
        });
    }
}

#[cfg(test)]
mod tests;
