//! What the documents of a root name, whether or not they can be read.

use super::fault::Problem;
use crate::reach::{Link, Visit};
use crate::store::{Store, StoreError};

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
pub(super) fn document_problem(store: &Store, error: StoreError) -> Problem {
    match error {
        StoreError::NotFound { .. } => Problem::Missing,
        // What was damaged may have got longer.
        StoreError::NoDocument { digest, path } => match store.blobs().hash(&digest) {
            Ok(actual) if actual != digest => Problem::Content { actual },
            Err(StoreError::Io { source, .. }) => Problem::Unreadable { source },
            Ok(_) | Err(_) => Problem::Document {
                source: StoreError::NoDocument { digest, path },
            },
        },
        StoreError::Io { source, .. } => Problem::Unreadable { source },
        source => Problem::Document { source },
    }
}
