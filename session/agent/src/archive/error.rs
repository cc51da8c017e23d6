//! Why files could not be packed or unpacked.

use std::io;

/// Why a copy failed, and at which entry. What was copied before stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A file could not be read, made or changed.
    #[error("could not {action} {entry:?}")]
    Entry {
        /// What was being done.
        action: &'static str,
        /// The file's name: its path, or its name in the stream.
        entry: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// An entry of a stream that is not taken.
    #[error("{entry:?} {problem}")]
    Refused {
        /// Its name in the stream.
        entry: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A stream that could not be read, or written, to its end.
    #[error("the tar stream failed after {after:?}")]
    Stream {
        /// The last entry; empty if there was none.
        after: String,
        /// Why.
        source: io::Error,
    },
    /// A stream that is larger than the copy may be.
    #[error("{entry:?} is beyond the limit of {limit} {what}")]
    TooMuch {
        /// The first entry that is too much.
        entry: String,
        /// The limit.
        limit: u64,
        /// What it counts.
        what: &'static str,
    },
    /// The disk that is unpacked to is nearly full.
    #[error("{entry:?} is not taken, as {reserve} bytes of the disk shall stay free")]
    NoRoom {
        /// The first entry for which there is no room.
        entry: String,
        /// What shall stay free.
        reserve: u64,
    },
}

impl ArchiveError {
    /// For `map_err`: what was being done, and to what.
    pub(super) fn entry<E: Into<io::Error>>(
        action: &'static str,
        name: &[u8],
    ) -> impl FnOnce(E) -> Self {
        let entry = text(name);
        move |source| Self::Entry {
            action,
            entry,
            source: source.into(),
        }
    }

    pub(super) fn refused(name: &[u8], problem: &'static str) -> Self {
        Self::Refused {
            entry: text(name),
            problem,
        }
    }
}

/// A name for people.
pub(super) fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
