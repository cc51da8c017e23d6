//! Which packs are elsewhere, and saying so.

use super::REMOTE;
use crate::blobs::create_dir;
use crate::digest::{BlobDigest, SnapshotDigest};
use crate::leases::{Lease, Leased};
use crate::manifest::Pack;
use crate::remote::RemoteStats;
use crate::store::{Store, StoreError};

/// A pack of a snapshot that is not in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Elsewhere {
    /// The pack.
    pub pack: BlobDigest,
    /// Its size.
    pub bytes: u64,
    /// Bytes of it that take space here.
    pub cached_bytes: u64,
    /// Where it is to be had, the latest first.
    pub origins: Vec<String>,
}

impl Store {
    /// Records durably that those of `packs` which are not in the store are to be had from `origin`; returns how many
    /// these are. They count as there from then on: documents that name them can be written.
    ///
    /// `lease` keeps them, and must last until something else leads to them: a snapshot that has a name, say. `origin`
    /// must hold no secret.
    ///
    /// # Errors
    /// [`RemoteError::Bounds`](crate::RemoteError::Bounds) if a record can't say this, or [`StoreError::Io`]; some may
    /// be recorded then.
    pub fn add_origin(
        &self,
        packs: &[Pack],
        origin: &str,
        lease: &Lease,
    ) -> Result<u64, StoreError> {
        let source = &self.inner.source;
        self.record_origin(packs, origin, lease, |pack| !source.is_here(pack))
    }

    /// Records where those packs are to be had that are `wanted`, once `lease` keeps all.
    pub(super) fn record_origin(
        &self,
        packs: &[Pack],
        origin: &str,
        lease: &Lease,
        wanted: impl Fn(&Pack) -> bool,
    ) -> Result<u64, StoreError> {
        let lines: Vec<_> = packs.iter().map(|pack| Leased::Blob(pack.digest)).collect();
        {
            let lock = self.inner.references.lock()?;
            lease.add(&lock, &lines)?;
        }
        create_dir(self.blobs().files(), self.dir(), REMOTE)?;
        let mut count = 0;
        for pack in packs.iter().filter(|pack| wanted(pack)) {
            self.inner.source.remotes.add(pack, origin)?;
            count += 1;
        }
        Ok(count)
    }

    /// The packs of a snapshot that are elsewhere.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn elsewhere(&self, snapshot: &SnapshotDigest) -> Result<Vec<Elsewhere>, StoreError> {
        let source = &self.inner.source;
        let mut found = Vec::new();
        for pack in self.snapshot(snapshot)?.packs {
            if source.is_here(&pack) {
                continue;
            }
            let record = source.remotes.record(&pack.digest)?;
            found.extend(record.map(|record| Elsewhere {
                pack: pack.digest,
                bytes: pack.bytes,
                cached_bytes: source.remotes.cached_bytes(&pack.digest).min(pack.bytes),
                origins: record.origins,
            }));
        }
        Ok(found)
    }

    /// What was fetched of packs that are elsewhere since the store was opened.
    #[must_use]
    pub fn remote_stats(&self) -> RemoteStats {
        self.inner.source.remotes.stats()
    }
}
