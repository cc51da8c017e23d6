//! What a second copy is called.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::reference::ReferenceError;
use crate::registry::RegistryReference;

/// What names of repositories begin with.
const TRANSPORT: &str = "docker://";

/// Where a repair takes blobs from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepairSource {
    /// Another store, or an OCI image layout.
    Folder(PathBuf),
    /// The repository of a registry that snapshots were pushed to. Blobs are asked for by digest, so it does not matter
    /// which tag is named.
    Registry(RegistryReference),
}

impl From<&Path> for RepairSource {
    fn from(dir: &Path) -> Self {
        Self::Folder(dir.to_owned())
    }
}

impl From<PathBuf> for RepairSource {
    fn from(dir: PathBuf) -> Self {
        Self::Folder(dir)
    }
}

impl From<RegistryReference> for RepairSource {
    fn from(reference: RegistryReference) -> Self {
        Self::Registry(reference)
    }
}

/// `docker://HOST/REPOSITORY`, or else a folder.
impl FromStr for RepairSource {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        match text.strip_prefix(TRANSPORT) {
            Some(reference) => Ok(Self::Registry(reference.parse()?)),
            None => Ok(Self::Folder(text.into())),
        }
    }
}

/// As it is parsed, but for the tag.
impl fmt::Display for RepairSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(dir) => dir.display().fmt(f),
            Self::Registry(reference) => {
                let (host, repository) = (reference.host(), reference.repository());
                write!(f, "{TRANSPORT}{host}/{repository}")
            }
        }
    }
}
