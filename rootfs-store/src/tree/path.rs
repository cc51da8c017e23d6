//! Paths of a layer as lists of components; they never name a file of the host.
//!
//! Invariant: a [`LayerPath`] holds no empty component, `.`, `..`, `/` or NUL, and is within Linux's lengths.

use super::error::EntryFault;

/// Longest name of a directory entry, in bytes (Linux: `NAME_MAX`).
pub(crate) const MAX_NAME_LEN: usize = 255;
/// Longest path or link target, in bytes (Linux: `PATH_MAX` without its NUL).
pub(crate) const MAX_PATH_LEN: usize = 4095;
/// Most symbolic links followed for one path (Linux: 40).
pub(crate) const MAX_SYMLINK_HOPS: usize = 40;
/// Most components of paths and links that are walked for one image: 64 for each of the 4 million entries that
/// it may have by default.
pub(crate) const MAX_WALKED: u64 = 1 << 28;
/// Deepest nesting of directories: what fits into a path.
pub(crate) const MAX_DEPTH: u16 = 2048;

/// A path below the image's root, split into components; the root itself has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LayerPath<'a> {
    components: Vec<&'a [u8]>,
}

impl<'a> LayerPath<'a> {
    /// Splits a name of a tar entry; leading slashes and `./` mean the image's root.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, EntryFault> {
        if bytes.len() > MAX_PATH_LEN {
            return Err(EntryFault::PathTooLong { len: bytes.len() });
        }
        let mut components = Vec::new();
        for component in bytes.split(|b| *b == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return Err(EntryFault::ParentComponent),
                name if name.contains(&0) => return Err(EntryFault::Nul),
                name if name.len() > MAX_NAME_LEN => {
                    return Err(EntryFault::NameTooLong { len: name.len() });
                }
                name => components.push(name),
            }
        }
        Ok(Self { components })
    }

    pub(crate) fn components(&self) -> &[&'a [u8]] {
        &self.components
    }

    /// The last component and those before it; nothing for the root.
    pub(crate) fn split_last(&self) -> Option<(&'a [u8], &[&'a [u8]])> {
        let (last, parents) = self.components.split_last()?;
        Some((*last, parents))
    }
}

/// Bytes of a name as text for messages.
pub(crate) fn printable(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
