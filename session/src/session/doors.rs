//! What is open between the host and a guest that runs.
//!
//! Invariant: it is closed when this is dropped, which is when the guest ends.

use std::sync::{Mutex, PoisonError, Weak};

use crate::command::Close;
use crate::forward::Forward;

#[derive(Debug, Default)]
pub(super) struct Doors {
    open: Mutex<Vec<Weak<dyn Close>>>,
    ssh: Mutex<Option<Forward>>,
}

impl Doors {
    /// Closes `open` with the others.
    pub(super) fn add(&self, open: Weak<dyn Close>) {
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|open| open.strong_count() > 0);
        all.push(open);
    }

    /// Keeps the guest's SSH socket.
    pub(super) fn keep_ssh(&self, ssh: Forward) {
        *self.ssh.lock().unwrap_or_else(PoisonError::into_inner) = Some(ssh);
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        let open = self.open.get_mut().unwrap_or_else(PoisonError::into_inner);
        for open in open.iter().filter_map(Weak::upgrade) {
            open.close();
        }
    }
}
