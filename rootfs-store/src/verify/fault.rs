//! What a check of the store found.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use crate::chunk::FrameError;
use crate::digest::{BlobDigest, SnapshotDigest};
use crate::disk::DiskError;
use crate::manifest::ManifestError;
use crate::pack::PackError;
use crate::reach::Root;
use crate::store::StoreError;

/// The state of a store.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Verified {
    /// Snapshots whose index was followed to every chunk.
    pub snapshots: u64,
    /// Writable disks whose maps were read.
    pub disks: u64,
    /// Blobs that were read and hashed.
    pub blobs: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Blobs that nothing needs, which were not read. They are no fault; a collection removes them.
    pub unreachable_blobs: u64,
    /// Bytes of these.
    pub unreachable_bytes: u64,
    /// Packs that are needed and known to be elsewhere. What was fetched of them was verified, but for what could be
    /// fetched again.
    pub remote_packs: u64,
    /// Bytes of these packs.
    pub remote_bytes: u64,
    /// Bytes of these packs that are not here.
    pub missing_bytes: u64,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// Something is wrong with more packs than are listed: of an index, 1000 packs that it names wrongly are.
    pub more_faults: bool,
}

/// One thing that is wrong with a store.
#[derive(Debug)]
#[non_exhaustive]
pub struct Fault {
    /// The file at fault.
    pub file: PathBuf,
    /// Its digest, if it is a blob.
    pub digest: Option<BlobDigest>,
    /// What is wrong.
    pub problem: Problem,
    /// What suffers from it.
    pub affected: Vec<Affected>,
}

/// A snapshot, or another tool's image, that a fault hits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Affected {
    /// The snapshot, or the manifest or index of the image.
    pub snapshot: SnapshotDigest,
    /// What needs it.
    pub roots: Vec<Root>,
    /// Bytes of the disk that can't be read, ascending; empty if it can't be used at all, or if no byte is lost.
    pub ranges: Vec<Range<u64>>,
    /// More bytes may be lost than these: at most 65,536 ranges of a snapshot are listed, and fewer of one whose index
    /// names damaged pages very often.
    pub more: bool,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The blob is not there.
    #[error("it is missing")]
    Missing,
    /// The blob is whole, but a manifest says that it has another size.
    #[error("it is whole and has {found} bytes, but a manifest says {expected}")]
    Size {
        /// Bytes of the file.
        found: u64,
        /// Bytes by the manifest.
        expected: u64,
    },
    /// The blob's bytes don't hash to its name.
    #[error("it is damaged: its bytes hash to {actual}")]
    Content {
        /// The digest of its bytes.
        actual: BlobDigest,
    },
    /// The file can't be read.
    #[error("it can't be read")]
    Unreadable {
        /// What the operating system said.
        source: io::Error,
    },
    /// A manifest or a config can't be used.
    #[error("it is no document of a snapshot that can be used")]
    Manifest {
        /// What is wrong.
        source: ManifestError,
    },
    /// A pack's table can't be used.
    #[error("it is no pack that can be used")]
    Pack {
        /// What is wrong.
        source: PackError,
    },
    /// Frames of a pack don't hold what its table says.
    #[error("{count} of its frames are damaged, the first at byte {offset}")]
    Frames {
        /// How many.
        count: u64,
        /// Where the first one starts.
        offset: u64,
        /// What is wrong with it.
        source: FrameError,
    },
    /// An index names a frame that its pack has not.
    #[error("an index names a frame at byte {offset} that its table has not, or not as this")]
    NoSuchFrame {
        /// Where the frame should start.
        offset: u64,
    },
    /// An index names a pack that the snapshot's manifest does not list.
    #[error("an index needs it, but the snapshot's manifest does not list it")]
    NotListed,
    /// An index page, or what it names, breaks the rules.
    #[error("an index page in it can't be used")]
    Index {
        /// What is wrong.
        source: StoreError,
    },
    /// `index.json` or a document can't be used.
    #[error("it can't be used")]
    Document {
        /// What is wrong.
        source: StoreError,
    },
    /// A writable disk can't be used.
    #[error("the disk can't be used")]
    Disk {
        /// What is wrong.
        source: DiskError,
    },
}

impl Fault {
    /// What can be done about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match (&self.problem, self.digest) {
            (Problem::Disk { .. }, _) => {
                "restore the disk's folder from a copy, or remove the disk"
            }
            (
                Problem::Document {
                    source: StoreError::NoDisk { .. },
                },
                _,
            ) => "move it out of the store",
            (_, None) => "restore the file from a copy",
            (
                Problem::Size { .. }
                | Problem::NoSuchFrame { .. }
                | Problem::NotListed
                | Problem::Index { .. }
                | Problem::Manifest { .. }
                | Problem::Document { .. },
                Some(_),
            ) if !self.is_repairable() => {
                "the snapshot was written like this: remove its names, and import or pull it again"
            }
            _ => {
                "repair it from another store, a layout or a registry, or import the image with the option `again`"
            }
        }
    }

    /// Whether the same bytes from elsewhere would mend it.
    pub(crate) fn is_repairable(&self) -> bool {
        self.digest.is_some()
            && matches!(
                self.problem,
                Problem::Missing
                    | Problem::Content { .. }
                    | Problem::Unreadable { .. }
                    | Problem::Document {
                        source: StoreError::BlobDamaged { .. } | StoreError::Remote(_)
                    }
            )
    }
}

/// The file, what is wrong, and the first cause, in a line.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.problem)?;
        let mut cause = std::error::Error::source(&self.problem);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
