//! Long calls on a store that are described first and then started.

use std::fmt;

use rootfs_store::Progress;

use crate::error::Error;
use crate::op::Op;

type Work<T> = Box<dyn FnOnce(&rootfs_store::Store, &dyn Progress) -> Result<T, Error> + Send>;

/// A long call on a store that is being described; [`start`](Self::start) makes it happen.
#[must_use = "nothing happens before `start`"]
pub struct Chore<T> {
    name: &'static str,
    store: rootfs_store::Store,
    work: Work<T>,
    progress: Box<dyn Progress + Send>,
}

impl<T: Send + 'static> Chore<T> {
    pub(super) fn new(
        name: &'static str,
        store: &rootfs_store::Store,
        work: impl FnOnce(&rootfs_store::Store, &dyn Progress) -> Result<T, Error> + Send + 'static,
    ) -> Self {
        Self {
            name,
            store: store.clone(),
            work: Box::new(work),
            progress: Box::new(()),
        }
    }

    /// Is told how far it has come.
    pub fn on_progress(mut self, progress: impl Progress + Send + 'static) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Starts it.
    pub fn start(self) -> Op<T> {
        Op::start(self.name, move || (self.work)(&self.store, &*self.progress))
    }
}

impl<T> fmt::Debug for Chore<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chore")
            .field("name", &self.name)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
