//! Which files of two trees are the same by all their names.
//!
//! Invariant: two files correspond only if every name that the new one has was a name of the base's, and every name
//! that the base's had and that is still there is one of the new one. So no link is made or missed by leaving both
//! alone.

use super::PublishError;
use super::pairs::{Excluded, Step, Trees, walk};
use crate::ext4::{FileId, FileKind};

/// What the names of a file stand for in the other tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Other {
    /// No name was seen.
    Unseen,
    /// All names stand for this one.
    One(FileId),
    /// They stand for several, for a directory, or for nothing.
    Mixed,
}

impl Other {
    fn see(&mut self, other: Option<FileId>) {
        *self = match (*self, other) {
            (Self::Unseen, Some(other)) => Self::One(other),
            (Self::One(before), Some(other)) if before == other => Self::One(other),
            _ => Self::Mixed,
        };
    }
}

/// Files that are no directories, and their names in both trees.
#[derive(Debug)]
pub(super) struct Links {
    of_new: Vec<Other>,
    of_base: Vec<Other>,
    names: Vec<u32>,
}

impl Links {
    pub(super) fn find(trees: Trees<'_>, excluded: &Excluded) -> Result<Self, PublishError> {
        let base_len = trees.base.map_or(0, |tree| tree.len());
        let mut links = Self {
            of_new: vec![Other::Unseen; trees.new.len()],
            of_base: vec![Other::Unseen; base_len],
            names: vec![0; trees.new.len()],
        };
        walk(trees, excluded, |_, step| {
            if let Step::File { new, base } = step {
                links.see(trees, new, base);
            }
            Ok::<_, PublishError>(())
        })?;
        Ok(links)
    }

    fn see(&mut self, trees: Trees<'_>, new: FileId, base: Option<FileId>) {
        if let FileKind::Directory(_) = trees.new.file(new).kind {
            return;
        }
        let base = base.filter(|id| {
            let kind = trees.base.map(|tree| &tree.file(*id).kind);
            !matches!(kind, Some(FileKind::Directory(_)))
        });
        self.of_new[new.index()].see(base);
        self.names[new.index()] += 1;
        if let Some(base) = base {
            self.of_base[base.index()].see(Some(new));
        }
    }

    /// The file of the base that corresponds to one of the new tree.
    pub(super) fn same(&self, new: FileId) -> Option<FileId> {
        match self.of_new[new.index()] {
            Other::One(base) if self.of_base[base.index()] == Other::One(new) => Some(base),
            _ => None,
        }
    }

    /// Names of a file of the new tree that is no directory.
    pub(super) fn names(&self, new: FileId) -> u32 {
        self.names[new.index()]
    }
}
