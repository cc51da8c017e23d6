//! Names of entries.
//!
//! Invariant: a parsed name leads downwards only, and each part of it is one that a file can have.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::ArchiveError;

/// The longest name, and the longest target of a link (`PATH_MAX` without its end).
pub(super) const MAX_NAME: usize = 4095;
/// The longest part of a name (`NAME_MAX`).
const MAX_PART: usize = 255;

/// The place of an entry below the folder that is unpacked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    parts: Vec<OsString>,
}

impl Name {
    /// Parses a name; none at all, as of `./`, is the folder itself.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ArchiveError> {
        let refused = |problem| {
            Err(ArchiveError::refused(
                &bytes[..bytes.len().min(MAX_NAME)],
                problem,
            ))
        };
        if bytes.len() > MAX_NAME {
            return refused("is longer than any path");
        }
        if bytes.first() == Some(&b'/') {
            return refused("has an absolute name");
        }
        let mut parts = Vec::new();
        for part in bytes.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return refused("has a name that leads upwards"),
                part if part.contains(&0) => return refused("has a zero byte in its name"),
                part if part.len() > MAX_PART => {
                    return refused("has a part that is longer than any name");
                }
                part => parts.push(OsStr::from_bytes(part).to_owned()),
            }
        }
        Ok(Self { parts })
    }

    /// Puts `name` in the place of the first part; `None` if there is no part.
    pub(super) fn renamed(mut self, name: &OsStr) -> Option<Self> {
        *self.parts.first_mut()? = name.to_owned();
        Some(self)
    }

    /// The last part, and the path of what it is in; `None` for the folder itself.
    pub(super) fn split(&self) -> Option<(PathBuf, &OsStr)> {
        let (last, parents) = self.parts.split_last()?;
        Some((parents.iter().collect(), last))
    }

    pub(super) fn path(&self) -> PathBuf {
        self.parts.iter().collect()
    }
}

/// All paths on the way to `path`, itself included, the shortest first.
pub(super) fn steps(path: &Path) -> impl Iterator<Item = PathBuf> {
    let parts: Vec<OsString> = path.iter().map(OsStr::to_owned).collect();
    (1..=parts.len()).map(move |count| parts[..count].iter().collect())
}
