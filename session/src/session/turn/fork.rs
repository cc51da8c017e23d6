//! Another session from the same disk.

use super::Turn;
use crate::builder::{SessionBuilder, Source};
use crate::error::Error;
use crate::folder;
use crate::session::phase::Phase;

impl Turn {
    /// Describes a session that begins with what this one's disk holds.
    pub(in crate::session) fn fork(self) -> Result<SessionBuilder, Error> {
        let store = self.shared.store.clone();
        let is_stopped = matches!(self.shared.lock().phase, Phase::Stopped(_));
        let record = if is_stopped {
            folder::look(store.dir(), &self.shared.id)?.0
        } else {
            let mut record = self.live(|live| Ok(live.holding.record().clone()))?;
            let snapshot = self.snapshot(&())?;
            record.snapshot = snapshot.digest;
            for (drive, kept) in record.drives.iter_mut().zip(&snapshot.drives) {
                drive.snapshot = kept.digest;
            }
            record
        };
        Ok(SessionBuilder::new(&store, Source::Like(Box::new(record))))
    }
}
