//! Removing what nobody needs.
//!
//! Invariant: a blob is removed only if it is older than the grace period and no name, disk or lease leads to it, all
//! seen under the store's lock and made durable before. What processes write meanwhile, they lease first, which waits
//! for that lock.

use std::fs;
use std::time::Duration;

use crate::blobs::{io_error, sync_dir};
use crate::digest::{BlobDigest, SnapshotDigest};
use crate::image::remove_old_downloads;
use crate::progress::{Progress, Stage};
use crate::reach::{RootError, Roots};
use crate::store::{Store, StoreError};

/// What a collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collected {
    /// Blobs that were removed.
    pub removed_blobs: u64,
    /// Packs elsewhere that are not known any more.
    pub removed_remote_packs: u64,
    /// Bytes that these blobs took, and what was fetched of these packs.
    pub freed_bytes: u64,
    /// Blobs that are needed.
    pub kept_blobs: u64,
    /// Bytes of these.
    pub kept_bytes: u64,
    /// Blobs that nobody needs, but that are younger than the grace period.
    pub spared_blobs: u64,
    /// Bytes of these.
    pub spared_bytes: u64,
}

impl Store {
    /// Removes the blobs that no name, disk or lease leads to and that are older than `grace`, and likewise what is
    /// known and was fetched of packs that are elsewhere.
    ///
    /// Others may use the store meanwhile: what an import, a commit, an export, a disk or a [`Lease`](crate::Lease) of
    /// any process needs stays. `grace` is for what knows nothing of leases: tools that wrote into the layout, like
    /// `skopeo copy`, which must not do so while a process changes the store, and images that were imported but not
    /// named, which stay until their manifest is older. An image that was imported again counts from then.
    ///
    /// # Errors
    /// [`RootError`]; nothing is removed if it can't be told what is needed. A collection that fails later has removed
    /// only what nobody needs.
    pub fn gc(&self, grace: Duration, progress: &dyn Progress) -> Result<Collected, RootError> {
        let lock = self.inner.references.lock()?;
        let roots = Roots::read(self, &lock, grace)?;
        let needed = roots.follow(self.blobs())?;
        self.settle()?;
        let mut collected = Collected::default();
        let found = self.blobs().list()?;
        let total: u64 = found.iter().map(|blob| blob.bytes).sum();
        let mut done = 0;
        for blob in found {
            done += blob.bytes;
            progress.advance(Stage::Collect, done, total);
            let (blobs, bytes) = if needed.contains(&blob.digest) {
                (&mut collected.kept_blobs, &mut collected.kept_bytes)
            } else if blob.age < grace {
                (&mut collected.spared_blobs, &mut collected.spared_bytes)
            } else {
                self.remove_blob(&blob.digest)?;
                (&mut collected.removed_blobs, &mut collected.freed_bytes)
            };
            *blobs += 1;
            *bytes += blob.bytes;
        }
        if collected.removed_blobs > 0 {
            self.blobs().sync()?;
        }
        let remotes = &self.inner.source.remotes;
        let remote = remotes.collect(&needed, grace, self.blobs())?;
        collected.removed_remote_packs = remote.removed;
        collected.freed_bytes += remote.freed_bytes;
        // Space comes first: on a disk that is full, `index.json` can't be written before.
        let is_gone =
            |digest: &SnapshotDigest| roots.old_imports.contains(digest) && !self.is_there(digest);
        self.inner.references.forget_imports(&lock, is_gone)?;
        drop(lock);
        let freed = remove_old_downloads(self.blobs(), self.dir(), grace);
        collected.freed_bytes += freed.map_err(io_error("clean", self.dir()))?;
        self.blobs()
            .remove_leftovers()
            .map_err(io_error("clean", self.blobs().staging()))?;
        Ok(collected)
    }

    /// Makes durable what was read of names and disks: a power cut must not bring back one whose blobs are gone.
    fn settle(&self) -> Result<(), RootError> {
        sync_dir(self.blobs().files(), self.dir())?;
        self.settle_disks().map_err(|source| RootError::Settle {
            source: Box::new(source),
        })
    }

    fn remove_blob(&self, digest: &BlobDigest) -> Result<(), StoreError> {
        let path = self.blobs().path(digest);
        let removed = self.blobs().files().remove_file(&path);
        removed.map_err(io_error("remove", &path))?;
        // An open file would keep its space.
        self.inner.source.forget_pack(digest);
        Ok(())
    }

    fn is_there(&self, digest: &SnapshotDigest) -> bool {
        fs::exists(self.blobs().path(&BlobDigest::from(*digest))).unwrap_or(true)
    }
}

#[cfg(test)]
mod tests;
