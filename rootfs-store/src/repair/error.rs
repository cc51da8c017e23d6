//! Why blobs are not put back.

use std::io;
use std::path::PathBuf;

use crate::blobs::BLOBS;
use crate::digest::BlobDigest;
use crate::registry::RegistryError;
use crate::store::StoreError;

/// Why a blob could not be put back.
///
/// `place` is where the second copy has it, or should: a file, or `docker://HOST/REPOSITORY@DIGEST`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotRepaired {
    /// The second copy has no such blob.
    #[error("{place} is not there")]
    Missing {
        /// Where it should be.
        place: String,
    },
    /// The second copy's blob is damaged, too.
    #[error("{place} is damaged as well: its bytes hash to {actual}")]
    Damaged {
        /// Where it is.
        place: String,
        /// The digest of its bytes.
        actual: BlobDigest,
    },
    /// The second copy's blob is longer than the blob can be.
    #[error("{place} is damaged as well: it has more than {limit} bytes")]
    TooLong {
        /// Where it is.
        place: String,
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
    /// The registry does not give it.
    #[error("could not fetch {place}")]
    Registry {
        /// Where it is.
        place: String,
        /// What went wrong.
        source: RegistryError,
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
    /// The registry can't be reached, or lets nobody in who asks like this.
    #[error("could not repair from {from}")]
    Registry {
        /// The repository.
        from: String,
        /// What went wrong.
        source: RegistryError,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether whatever else the repository is asked for will fail like this.
pub(super) fn is_of_all(error: &RegistryError) -> bool {
    match error {
        RegistryError::GaveUp { source, .. } => is_of_all(source),
        RegistryError::BadHost { .. }
        | RegistryError::BadName { .. }
        | RegistryError::Credentials { .. }
        | RegistryError::BadChallenge { .. }
        | RegistryError::Connection { .. }
        | RegistryError::TimedOut { .. }
        | RegistryError::Tls { .. }
        | RegistryError::Proxy { .. }
        | RegistryError::PlainHttp { .. }
        | RegistryError::Unauthorized { .. }
        | RegistryError::Denied { .. }
        | RegistryError::TooManyRequests { .. } => true,
        _ => false,
    }
}
