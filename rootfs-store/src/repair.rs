//! Puts back what is damaged or missing, from a second copy.
//!
//! Invariant: a blob gets its place only after all of its bytes were hashed to its name. The second copy is not trusted:
//! no more is read of it than the blob can have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::blobs::BLOBS;
use crate::digest::BlobDigest;
use crate::image::MAX_DOCUMENT_BYTES;
use crate::leases::Lease;
use crate::progress::Progress;
use crate::reach::{Link, Roots, Visit, walk};
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
    /// The second copy's file is longer than the blob can be.
    #[error("{path} is damaged as well: it has more than {limit} bytes")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The blob's size in bytes by the documents that name it, or the most that a document may have.
        limit: u64,
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
            let sizes = self.sizes(&verified);
            for digest in new {
                tried.insert(digest);
                let limit = sizes.get(&digest).copied();
                let limit = limit.unwrap_or(MAX_DOCUMENT_BYTES);
                match self.fetch(&source, digest, limit, &lease) {
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

    /// The sizes of blobs that something at fault needs, by the documents that name them: the largest, if some lie.
    fn sizes(&self, verified: &Verified) -> BTreeMap<BlobDigest, u64> {
        let affected = verified.faults.iter().flat_map(|fault| &fault.affected);
        let at_fault: BTreeSet<_> = affected.map(|affected| affected.snapshot).collect();
        let mut roots = Roots::default();
        // Which can't be read is a fault already.
        roots.add_entries(self, Duration::MAX).unwrap_or_default();
        let entries = roots.starts.into_iter().map(|start| start.link);
        let entries = entries.filter(|link| at_fault.contains(&link.digest.into()));
        let mut sizes = Sizes::default();
        for link in entries.chain(at_fault.iter().map(Link::to_snapshot)) {
            walk(self.blobs(), &link, &mut sizes).unwrap_or_default();
        }
        sizes.0
    }

    /// Copies one blob of `limit` bytes at most, and verifies it on the way.
    fn fetch(
        &self,
        source: &Path,
        digest: BlobDigest,
        limit: u64,
        lease: &Lease,
    ) -> Result<u64, NotRepaired> {
        let path = source.join(digest.file_name());
        let unreadable = |source| NotRepaired::Unreadable {
            path: path.clone(),
            source,
        };
        let file = match open_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(NotRepaired::Missing { path });
            }
            opened => opened.map_err(unreadable)?,
        };
        let len = file.metadata().map_err(unreadable)?.len();
        if len > limit {
            return Err(NotRepaired::TooLong { path, limit });
        }
        // It may grow meanwhile.
        let mut file = file.take(limit);
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

/// Opens a file, but nothing else that a path may name: opening a pipe would wait for ever.
fn open_file(path: &Path) -> io::Result<File> {
    match path.metadata()?.is_file() {
        true => File::open(path),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        )),
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
