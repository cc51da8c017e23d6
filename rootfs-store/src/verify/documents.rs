//! What the documents of a root name, whether or not they can be read.

use super::fault::Problem;
use crate::reach::{Link, Visit};
use crate::store::StoreError;

/// Takes down what a walk finds, and what it can't read.
pub(super) struct Documents {
    pub(super) found: Vec<(Link, bool)>,
    pub(super) failed: Vec<(Link, StoreError)>,
    /// The root is about to be written.
    pub(super) may_lack: bool,
}

impl Visit for Documents {
    fn found(&mut self, link: &Link, is_document: bool) {
        self.found.push((link.clone(), is_document));
    }

    fn failed(&mut self, link: &Link, error: StoreError) -> Result<(), StoreError> {
        if !(self.may_lack && matches!(error, StoreError::NotFound { .. })) {
            self.failed.push((link.clone(), error));
        }
        Ok(())
    }
}

/// What is wrong with a document that can't be read.
pub(super) fn document_problem(error: StoreError) -> Problem {
    match error {
        StoreError::NotFound { .. } => Problem::Missing,
        StoreError::Io { source, .. } => Problem::Unreadable { source },
        source => Problem::Document { source },
    }
}
