//! What the operating system refused to do with a file or folder.

use std::io;
use std::path::{Path, PathBuf};

/// A file or folder that could not be used.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} {path}")]
pub(crate) struct FileError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Turns what the operating system said about `path` into an error that names it.
pub(crate) fn file_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> FileError + use<> {
    let path = path.to_owned();
    move |source| FileError {
        action,
        path,
        source,
    }
}
