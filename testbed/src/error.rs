//! What can go wrong with the test bed itself.

use std::io;
use std::path::{Path, PathBuf};

/// A test bed that could not be set up or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BedError {
    /// A file or folder of the test bed.
    #[error("could not {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A program that could not be started, most likely because its Debian package is not installed.
    #[error("could not run {program}")]
    Run {
        /// The program's name.
        program: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A program that ended where it should not have, or failed.
    #[error("{program} failed, saying:\n{output}")]
    Failed {
        /// The program's name.
        program: &'static str,
        /// What it printed.
        output: String,
    },
    /// A registry that did not answer in time.
    #[error("docker-registry does not listen after {waited_s} s, saying:\n{output}")]
    NotUp {
        /// How long it was waited for.
        waited_s: u64,
        /// What it printed.
        output: String,
    },
    /// A port of this machine that could not be listened at.
    #[error("could not listen at {address}")]
    Listen {
        /// The address and port.
        address: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A certificate that could not be made.
    #[error("could not make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// A key that its own maker made, but that can't sign.
    #[error("could not use a key for signing: {reason}")]
    Key {
        /// Why it was refused.
        reason: String,
    },
}

/// Says which file it was, in `map_err`.
pub(crate) fn file_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> BedError + use<> {
    let path = path.to_owned();
    move |source| BedError::File {
        action,
        path,
        source,
    }
}
