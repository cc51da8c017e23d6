//! Puts back what is damaged or missing, from a second copy.
//!
//! Invariant: a blob gets its place only after all of its bytes were hashed to its name. The second copy is not trusted:
//! no more is read of it than the blob can have.

mod copy;
mod error;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::digest::BlobDigest;
use crate::image::MAX_DOCUMENT_BYTES;
use crate::leases::Lease;
use crate::progress::{Progress, Stage};
use crate::reach::{Link, Roots, Visit, walk};
use crate::store::{Store, StoreError};
use crate::verify::Verified;
use copy::SecondCopy;
pub use error::{NotRepaired, RepairError};
pub use source::RepairSource;

/// What a repair did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Repaired {
    /// Blobs that were put back.
    pub blobs: Vec<BlobDigest>,
    /// Bytes of these.
    pub bytes: u64,
    /// Blobs that could not be had, and why.
    pub lost: Vec<(BlobDigest, NotRepaired)>,
    /// The store as it is now.
    pub verified: Verified,
}

impl Store {
    /// Puts back each blob that is damaged or missing, if `from` has it whole.
    ///
    /// A blob is taken as it is, or not at all: a pack whose chunks are in other packs there can't be had. What nothing
    /// leads to is not looked at, and disks and `index.json` can't be repaired. Besides the checks, `progress` is told in
    /// [`Stage::Fetch`] how much has come of the blobs that are at fault and whose size is known.
    ///
    /// # Errors
    /// [`RepairError`]; blobs that can't be had are no error, but listed in [`Repaired::lost`].
    pub fn repair(
        &self,
        from: &RepairSource,
        progress: &dyn Progress,
    ) -> Result<Repaired, RepairError> {
        let repair = Repair {
            store: self,
            copy: SecondCopy::open(from, self.registries())?,
            lease: self.lease()?,
            progress,
        };
        repair.run()
    }
}

/// A repair under way.
struct Repair<'a> {
    store: &'a Store,
    copy: SecondCopy,
    lease: Lease,
    progress: &'a dyn Progress,
}

/// What became of blobs: how many bytes each has, or why it could not be had.
type Fetched = Vec<(BlobDigest, Result<u64, NotRepaired>)>;

impl Repair<'_> {
    fn run(&self) -> Result<Repaired, RepairError> {
        let (mut blobs, mut bytes, mut lost) = (Vec::new(), 0, Vec::new());
        let mut tried = BTreeSet::new();
        loop {
            let verified = self.store.verify(self.progress)?;
            let broken = verified.faults.iter().filter(|fault| fault.is_repairable());
            let broken: BTreeSet<_> = broken.filter_map(|fault| fault.digest).collect();
            let new: Vec<_> = broken.difference(&tried).copied().collect();
            if new.is_empty() {
                return Ok(Repaired {
                    blobs,
                    bytes,
                    lost,
                    verified,
                });
            }
            let fetched = self.fetch_all(&new, &self.sizes(&verified));
            // What was put back stays, whatever became of the rest.
            self.store.blobs().sync()?;
            for (digest, fetched) in fetched? {
                match fetched {
                    Ok(len) => {
                        blobs.push(digest);
                        bytes += len;
                    }
                    Err(error) => lost.push((digest, error)),
                }
            }
            tried.extend(new);
            // A document that is back leads to what was not looked at before.
        }
    }

    /// Fetches blobs, of which some sizes are known.
    ///
    /// # Errors
    /// [`RepairError::Registry`] once there is no use in asking for the others.
    fn fetch_all(
        &self,
        digests: &[BlobDigest],
        sizes: &BTreeMap<BlobDigest, u64>,
    ) -> Result<Fetched, RepairError> {
        let total = digests.iter().filter_map(|digest| sizes.get(digest)).sum();
        let mut begins = 0;
        let mut all = Vec::new();
        for digest in digests {
            let size = sizes.get(digest).copied();
            let came = |count: u64| {
                let done = begins + count.min(size.unwrap_or(0));
                self.progress.advance(Stage::Fetch, done, total);
            };
            match self.fetch(digest, size.unwrap_or(MAX_DOCUMENT_BYTES), &came) {
                Err(NotRepaired::Registry { source, .. })
                    if error::is_of_all(&source) && !self.copy.answers(digest) =>
                {
                    let from = self.copy.to_string();
                    return Err(RepairError::Registry { from, source });
                }
                fetched => all.push((*digest, fetched)),
            }
            begins += size.unwrap_or(0);
        }
        Ok(all)
    }

    /// Copies one blob of `limit` bytes at most, and verifies it on the way; `came` is told how much of it has come.
    fn fetch(
        &self,
        digest: &BlobDigest,
        limit: u64,
        came: &dyn Fn(u64),
    ) -> Result<u64, NotRepaired> {
        let mut blob = self.store.blobs().create()?;
        self.copy.read(digest, limit, &mut |piece| {
            blob.write(piece)?;
            came(blob.len());
            Ok(())
        })?;
        let staged = blob.finish()?;
        if staged.digest != *digest {
            return Err(NotRepaired::Damaged {
                place: self.copy.place(digest),
                actual: staged.digest,
            });
        }
        let published = staged.publish(&self.lease)?;
        self.store.inner.source.forget_pack(digest);
        Ok(published.bytes)
    }

    /// The sizes of blobs that something at fault needs, by the documents that name them: the largest, if some lie.
    fn sizes(&self, verified: &Verified) -> BTreeMap<BlobDigest, u64> {
        let affected = verified.faults.iter().flat_map(|fault| &fault.affected);
        let at_fault: BTreeSet<_> = affected.map(|affected| affected.snapshot).collect();
        let mut roots = Roots::default();
        // Which can't be read is a fault already.
        roots
            .add_entries(self.store, Duration::MAX)
            .unwrap_or_default();
        let entries = roots.starts.into_iter().map(|start| start.link);
        let entries = entries.filter(|link| at_fault.contains(&link.digest.into()));
        let mut sizes = Sizes::default();
        for link in entries.chain(at_fault.iter().map(Link::to_snapshot)) {
            walk(self.store.blobs(), &link, &mut sizes).unwrap_or_default();
        }
        sizes.0
    }
}

/// Takes down the sizes that documents tell.
#[derive(Default)]
struct Sizes(BTreeMap<BlobDigest, u64>);

impl Visit for Sizes {
    fn found(&mut self, link: &Link, _is_document: bool) {
        if let Some(size) = link.size {
            let known = self.0.entry(link.digest).or_default();
            *known = size.max(*known);
        }
    }

    /// What it names is unknown until it is back.
    fn failed(&mut self, _link: &Link, _error: StoreError) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
