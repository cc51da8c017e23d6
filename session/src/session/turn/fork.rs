//! Another session from the same disk.

use super::Turn;
use crate::builder::{SessionBuilder, Source};
use crate::error::Error;
use crate::folder;
use crate::record::Record;
use crate::session::phase::Phase;

impl Turn {
    /// Describes a session that begins with what this one's disk holds.
    pub(in crate::session) fn fork(self) -> Result<SessionBuilder, Error> {
        let store = self.shared.store.clone();
        let is_stopped = matches!(self.shared.lock().phase, Phase::Stopped(_));
        let record = if is_stopped {
            folder::look(store.dir(), &self.shared.id)?.0
        } else {
            let record = self.live(|live| Ok(live.holding.record().clone()))?;
            let snapshot = self.snapshot(&())?.digest;
            Record { snapshot, ..record }
        };
        Ok(SessionBuilder::new(&store, Source::Like(Box::new(record))))
    }
}
