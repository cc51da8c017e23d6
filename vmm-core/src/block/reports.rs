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

    /// The report that the backend failed `operation` at `now`; `None` if it comes too early, and is counted.
    pub(super) fn report(
        &mut self,
        operation: DiskOperation,
        error: io::Error,
        now: Instant,
    ) -> Option<Report> {
        let is_early = |last| now.saturating_duration_since(last) < INTERVAL;
        if self.last.is_some_and(is_early) {
            self.unreported += 1;
            return None;
        }
        self.last = Some(now);
        let (drive, unreported) = (self.drive, std::mem::take(&mut self.unreported));
        tracing::warn!(%error, drive, ?operation, unreported, "a disk request failed");
        Some(Report {
            events: self.events.clone(),
            event: Event::IoError {
                drive,
                operation,
                error: Arc::new(error),
                unreported,
            },
        })
    }
}

/// An event that its owner has still to be told.
#[must_use]
pub(super) struct Report {
    events: Events,
    event: Event,
}

impl Report {
    pub(super) fn tell(self) {
        self.events.tell(self.event);
    }
}

#[cfg(test)]
mod tests;
