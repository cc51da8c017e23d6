//! Reads of a disk that failed because of where its packs are.

use std::error::Error;
use std::iter;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::{DiskError, WritableDisk};
use crate::remote::RemoteError;
use crate::store::StoreError;

/// Reads of a disk that failed as no origin gave what they needed of a pack that is elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteTrouble {
    /// When the first one failed.
    pub first: SystemTime,
    /// When the latest one failed.
    pub last: SystemTime,
    /// How many failed. Writes and discards that need what lies below count, too.
    pub reads: u64,
    /// What the latest one failed with, and its causes, on one line.
    pub message: String,
}

/// The trouble so far.
#[derive(Debug, Default)]
pub(super) struct TroubleLog(Mutex<Option<RemoteTrouble>>);

impl WritableDisk {
    /// What failed since the disk was opened because origins can't be reached, refuse, or give damaged packs; nothing
    /// if nothing did. It stays when reads work again.
    #[must_use]
    pub fn remote_trouble(&self) -> Option<RemoteTrouble> {
        let trouble = self.trouble.0.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl TroubleLog {
    /// Takes down what was read, if that is a failure of origins, and passes it on.
    pub(super) fn note<T>(&self, read: Result<T, DiskError>) -> Result<T, DiskError> {
        if let Err(DiskError::Store(StoreError::Remote(error))) = &read
            && error.is_of_origins()
        {
            self.add(error);
        }
        read
    }

    fn add(&self, error: &RemoteError) {
        let (now, message) = (SystemTime::now(), line(error));
        let mut trouble = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, reads) = trouble
            .as_ref()
            .map_or((now, 0), |known| (known.first, known.reads));
        *trouble = Some(RemoteTrouble {
            first,
            last: now,
            reads: reads + 1,
            message,
        });
    }
}

/// An error and its causes on one line.
fn line(error: &RemoteError) -> String {
    let first: &(dyn Error + 'static) = error;
    let causes = iter::successors(Some(first), |error| Error::source(*error));
    let texts: Vec<_> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}
