//! Writing a snapshot's disk to a file.

use std::fmt;
use std::path::PathBuf;

use rootfs_store::{Exported, Progress, SnapshotDigest};

use crate::op::Op;

/// An export that is being described; [`start`](Self::start) makes it happen.
#[must_use = "nothing is written before `start`"]
pub struct Export {
    store: rootfs_store::Store,
    snapshot: SnapshotDigest,
    file: PathBuf,
    progress: Box<dyn Progress + Send>,
}

impl Export {
    pub(super) fn new(store: rootfs_store::Store, snapshot: SnapshotDigest, file: PathBuf) -> Self {
        Self {
            store,
            snapshot,
            file,
            progress: Box::new(()),
        }
    }

    /// Is told how far the export has come.
    pub fn on_progress(mut self, progress: impl Progress + Send + 'static) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Starts the export. The file appears when it is complete.
    pub fn start(self) -> Op<Exported> {
        Op::start("export", move || {
            Ok(self
                .store
                .export(&self.snapshot, &self.file, &*self.progress)?)
        })
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export")
            .field("snapshot", &self.snapshot)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}
