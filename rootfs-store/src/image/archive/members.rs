//! The members of a tar file by name, each a range of the file's bytes.
//!
//! Invariant: a name or link of a member only ever leads to another member, never to a file of the host.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::os::unix::fs::FileExt;

use super::ArchiveError;
use crate::tree::{Entries, EntryKind, LayerPath, MAX_SYMLINK_HOPS, printable};

/// Most bytes of names and link targets of all members: room for several images with the most layers there can be.
pub(super) const MAX_NAMES_BYTES: usize = 16 << 20;
/// What a member costs beside its names, in bytes.
const MEMBER_BYTES: usize = 64;

/// A part of the archive's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) len: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Member {
    File(Extent),
    /// Another member's name; nothing where the link leads out of the archive.
    Link(Option<Vec<u8>>),
    Other,
    Duplicate,
}

/// All members that a document could name.
#[derive(Debug)]
pub(super) struct Members {
    by_name: BTreeMap<Vec<u8>, Member>,
    file_len: u64,
}

impl Members {
    /// Reads all headers of `file`, and passes over the data.
    pub(super) fn read(file: &File, file_len: u64) -> Result<Self, ArchiveError> {
        let mut entries = Entries::new(BufReader::new(file));
        let mut by_name = BTreeMap::new();
        let mut names_bytes = 0;
        loop {
            let next = entries.next();
            let offset = entries.offset();
            let tar_error = |source| ArchiveError::Tar { offset, source };
            let Some(entry) = next.map_err(tar_error)? else {
                return Ok(Self { by_name, file_len });
            };
            // No document can name a member whose name is no path, or is the root.
            if let Some(name) = normalized(&entry.name) {
                let member = member(&name, entry.kind, offset);
                names_bytes += name.len() + MEMBER_BYTES;
                if let Member::Link(Some(target)) = &member {
                    names_bytes += target.len();
                }
                if names_bytes > MAX_NAMES_BYTES {
                    return Err(ArchiveError::TooManyNames);
                }
                by_name
                    .entry(name)
                    .and_modify(|known| *known = Member::Duplicate)
                    .or_insert(member);
            }
            entries.seek_over_data().map_err(tar_error)?;
        }
    }

    /// Where the bytes of the file `name` are, through links.
    pub(super) fn find(&self, name: &str) -> Result<Extent, ArchiveError> {
        let missing = |name: &[u8]| ArchiveError::MissingMember {
            name: printable(name),
        };
        let mut at = normalized(name.as_bytes()).ok_or_else(|| missing(name.as_bytes()))?;
        for _ in 0..=MAX_SYMLINK_HOPS {
            match self.by_name.get(&at).ok_or_else(|| missing(&at))? {
                Member::File(extent) => return self.within(*extent, name),
                Member::Link(Some(target)) => at.clone_from(target),
                Member::Link(None) | Member::Other => {
                    return Err(ArchiveError::NotAFile {
                        name: printable(&at),
                    });
                }
                Member::Duplicate => {
                    return Err(ArchiveError::DuplicateMember {
                        name: printable(&at),
                    });
                }
            }
        }
        Err(ArchiveError::TooManyLinks { name: name.into() })
    }

    fn within(&self, extent: Extent, name: &str) -> Result<Extent, ArchiveError> {
        match extent.offset.checked_add(extent.len) {
            Some(end) if end <= self.file_len => Ok(extent),
            _ => Err(ArchiveError::Truncated { name: name.into() }),
        }
    }
}

/// The first bytes of a part of `file`, at most `limit`.
pub(super) fn read_start(file: &File, extent: Extent, limit: usize) -> std::io::Result<Vec<u8>> {
    let len = usize::try_from(extent.len).unwrap_or(limit).min(limit);
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, extent.offset)?;
    Ok(bytes)
}

fn member(name: &[u8], kind: EntryKind, offset: u64) -> Member {
    match kind {
        EntryKind::File { len } => Member::File(Extent { offset, len }),
        EntryKind::HardLink { target } => Member::Link(normalized(&target)),
        EntryKind::Symlink { target } => Member::Link(symlinked(name, &target)),
        _ => Member::Other,
    }
}

/// A path without what does not change its meaning; nothing for the root and for what is no path.
fn normalized(path: &[u8]) -> Option<Vec<u8>> {
    let path = LayerPath::parse(path).ok()?;
    let components = path.components();
    (!components.is_empty()).then(|| components.join(&b'/'))
}

/// What the symbolic link `name` to `target` means, if that is in the archive. Docker's point into sibling folders.
fn symlinked(name: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let mut path: Vec<&[u8]> = name.split(|b| *b == b'/').collect();
    path.pop();
    if target.starts_with(b"/") {
        path.clear();
    }
    for component in target.split(|b| *b == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(path.pop()?),
            other => path.push(other),
        }
    }
    normalized(&path.join(&b'/'))
}

#[cfg(test)]
mod tests;
