//! Another session from the same disk.

use super::Turn;
use crate::builder::SessionBuilder;
use crate::error::Error;
use crate::session::phase::Phase;

impl Turn {
    /// Describes a session that begins with what this one's disk holds.
    pub(in crate::session) fn fork(self) -> Result<SessionBuilder, Error> {
        let store = self.shared.store.clone();
        let is_stopped = matches!(self.shared.lock().phase, Phase::Stopped(_));
        if is_stopped {
            // Another process may have resumed it.
            return store.fork(&self.shared.id);
        }
        let mut record = self.live(|live| Ok(live.holding.record().clone()))?;
        let snapshot = self.snapshot(&())?;
        record.snapshot = snapshot.digest;
        for (drive, kept) in record.drives.iter_mut().zip(&snapshot.drives) {
            drive.snapshot = kept.digest;
        }
        SessionBuilder::like(&store, record)
    }
}
