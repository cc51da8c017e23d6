//! Blobs on their way to one repository.
//!
//! Invariant: what was found there, mounted or sent counts as done once, whatever had to be sent again.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::digest::BlobDigest;
use crate::progress::{Progress, Stage};
use crate::registry::{RegistryError, Repository};

/// Where blobs go, and how far they have come.
pub(crate) struct Sending<'a> {
    pub(crate) repository: Repository,
    done: AtomicU64,
    total: u64,
    progress: &'a dyn Progress,
}

impl<'a> Sending<'a> {
    /// Blobs of so many bytes in all.
    pub(crate) fn new(repository: Repository, total: u64, progress: &'a dyn Progress) -> Self {
        Self {
            repository,
            done: AtomicU64::new(0),
            total,
            progress,
        }
    }

    /// Whether the repository has the blob.
    pub(crate) fn has(&self, digest: &BlobDigest, bytes: u64) -> Result<bool, RegistryError> {
        let found = self.repository.blob_size(digest)? == Some(bytes);
        Ok(self.done_if(found, bytes))
    }

    /// Whether the registry took the blob over from another of its repositories.
    pub(crate) fn mount(
        &self,
        digest: &BlobDigest,
        bytes: u64,
        from: &str,
    ) -> Result<bool, RegistryError> {
        match self.repository.mount(digest, from) {
            Ok(mounted) => Ok(self.done_if(mounted, bytes)),
            // The registry may not let us read there any more; that is no reason not to send it.
            Err(error) if !error.is_transient() => {
                tracing::debug!(%digest, from, %error, "could not mount a blob");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends the blob.
    pub(crate) fn send(
        &self,
        digest: &BlobDigest,
        bytes: u64,
        read_at: &dyn Fn(u64, &mut [u8]) -> io::Result<()>,
    ) -> Result<(), RegistryError> {
        let mut sent = 0;
        let mut advance = |offset: u64| {
            self.advance(offset.saturating_sub(sent));
            sent = sent.max(offset);
        };
        self.repository.upload(digest, bytes, read_at, &mut advance)
    }

    fn done_if(&self, is_there: bool, bytes: u64) -> bool {
        if is_there {
            self.advance(bytes);
        }
        is_there
    }

    fn advance(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.progress.advance(Stage::Push, done, self.total);
    }
}
