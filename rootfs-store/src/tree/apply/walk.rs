//! Walks from the root to what an entry names.
//!
//! Invariant: no symbolic link leads out of the tree.

use std::borrow::Cow;

use super::Applier;
use super::check::checked_target;
use crate::tree::error::EntryFault;
use crate::tree::node::{Attributes, DirEntry, InodeId, Kind};
use crate::tree::path::{LayerPath, MAX_NAME_LEN, MAX_SYMLINK_HOPS, MAX_WALKED, printable};

/// What to do about directories that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Create,
    Stop,
}

impl Applier<'_> {
    pub(super) fn link_target(&mut self, target: &[u8]) -> Result<InodeId, EntryFault> {
        let missing = || EntryFault::MissingTarget {
            target: printable(target),
        };
        let path = LayerPath::parse(checked_target(target)?)?;
        let Some((name, parents)) = path.split_last() else {
            let target = printable(target);
            return Err(EntryFault::TargetIsDirectory { target });
        };
        let parent = self
            .directory(parents, Missing::Stop)?
            .ok_or_else(missing)?;
        let entry = self.child(parent, name).ok_or_else(missing)?;
        match self.tree.inode(entry.inode).kind {
            Kind::Directory(_) => Err(EntryFault::TargetIsDirectory {
                target: printable(target),
            }),
            _ => Ok(entry.inode),
        }
    }

    /// Walks to a directory, through symbolic links that are resolved inside the image.
    pub(super) fn directory(
        &mut self,
        components: &[&[u8]],
        missing: Missing,
    ) -> Result<Option<InodeId>, EntryFault> {
        let mut here = vec![InodeId::ROOT];
        let mut ahead: Vec<Cow<'_, [u8]>> =
            components.iter().rev().map(|c| Cow::Borrowed(*c)).collect();
        let mut hops = 0;
        while let Some(name) = ahead.pop() {
            self.walked += 1;
            if self.walked > MAX_WALKED {
                return Err(EntryFault::TooManySteps);
            }
            let current = *here.last().unwrap_or(&InodeId::ROOT);
            match &*name {
                b"" | b"." => continue,
                // Like Linux, `..` of the root is the root.
                b".." => {
                    if here.len() > 1 {
                        here.pop();
                    }
                    continue;
                }
                name if name.len() > MAX_NAME_LEN => {
                    return Err(EntryFault::NameTooLong { len: name.len() });
                }
                _ => {}
            }
            let Some(entry) = self.child(current, &name) else {
                if missing == Missing::Stop {
                    return Ok(None);
                }
                self.count_entry()?;
                let attributes = Attributes::implied_directory();
                here.push(self.make_directory(current, &name, attributes)?);
                continue;
            };
            match &self.tree.inode(entry.inode).kind {
                Kind::Directory(_) => here.push(entry.inode),
                Kind::Symlink(target) => {
                    hops += 1;
                    if hops > MAX_SYMLINK_HOPS {
                        return Err(EntryFault::TooManySymlinks);
                    }
                    if target.starts_with(b"/") {
                        here.truncate(1);
                    }
                    let parts = target.rsplit(|b| *b == b'/');
                    ahead.extend(parts.map(|c| Cow::Owned(c.to_vec())));
                }
                _ => {
                    let parent = printable(&name);
                    return Err(EntryFault::NotADirectory { parent });
                }
            }
        }
        Ok(here.last().copied())
    }

    pub(super) fn child(&self, directory: InodeId, name: &[u8]) -> Option<DirEntry> {
        match &self.tree.inode(directory).kind {
            Kind::Directory(directory) => directory.entries.get(name).copied(),
            _ => None,
        }
    }
}
