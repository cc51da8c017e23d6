//! Puts back what is damaged or missing, from a second copy.
//!
//! Invariant: a blob gets its place only after all of its bytes were hashed to its name.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::blobs::BLOBS;
use crate::digest::BlobDigest;
use crate::leases::Lease;
use crate::progress::Progress;
use crate::store::{Store, StoreError};
use crate::verify::Verified;

/// Bytes that are copied at a time.
const PIECE_BYTES: usize = 1 << 20;

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

/// Why a blob could not be put back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotRepaired {
    /// The second copy has no such blob.
    #[error("{path} is not there")]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The second copy's blob is damaged, too.
    #[error("{path} is damaged as well: its bytes hash to {actual}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The digest of its bytes.
        actual: BlobDigest,
    },
    /// The second copy's blob can't be read.
    #[error("could not read {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It can't be written here.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a repair could not begin, or go on; what was put back stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// There is no second copy.
    #[error("{path} is no store and no OCI image layout: it has no folder {BLOBS}")]
    NoLayout {
        /// What was named.
        path: PathBuf,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Puts back each blob that is damaged or missing, if the store or OCI image layout in `from` has it whole.
    ///
    /// A blob is taken as it is, or not at all: a pack whose chunks are in other packs there can't be had. What nothing
    /// leads to is not looked at, and disks and `index.json` can't be repaired.
    ///
    /// # Errors
    /// [`RepairError`]; blobs that can't be had are no error, but listed in [`Repaired::lost`].
    pub fn repair(&self, from: &Path, progress: &dyn Progress) -> Result<Repaired, RepairError> {
        let source = from.join(BLOBS);
        if !source.is_dir() {
            return Err(RepairError::NoLayout {
                path: from.to_owned(),
            });
        }
        let lease = self.lease()?;
        let (mut blobs, mut bytes, mut lost) = (Vec::new(), 0, Vec::new());
        let mut tried = BTreeSet::new();
        loop {
            let verified = self.verify(progress)?;
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
            for digest in new {
                tried.insert(digest);
                match self.fetch(&source, digest, &lease) {
                    Ok(len) => {
                        blobs.push(digest);
                        bytes += len;
                    }
                    Err(error) => lost.push((digest, error)),
                }
            }
            self.blobs().sync()?;
            // A document that is back leads to what was not looked at before.
        }
    }

    /// Copies one blob, and verifies it on the way.
    fn fetch(&self, source: &Path, digest: BlobDigest, lease: &Lease) -> Result<u64, NotRepaired> {
        let path = source.join(digest.file_name());
        let unreadable = |source| NotRepaired::Unreadable {
            path: path.clone(),
            source,
        };
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(NotRepaired::Missing { path });
            }
            opened => opened.map_err(unreadable)?,
        };
        let mut blob = self.blobs().create()?;
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            match file.read(&mut buffer).map_err(unreadable)? {
                0 => break,
                count => blob.write(&buffer[..count])?,
            }
        }
        let staged = blob.finish()?;
        if staged.digest != digest {
            let actual = staged.digest;
            return Err(NotRepaired::Damaged { path, actual });
        }
        let published = staged.publish(lease)?;
        self.inner.source.forget_pack(&digest);
        Ok(published.bytes)
    }
}

#[cfg(test)]
mod tests;
