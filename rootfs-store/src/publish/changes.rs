//! What differs between two trees of files.

use super::content::{self, Differing, OnDisk};
use super::error::{Fault, PublishError};
use super::links::Links;
use super::pairs::{Excluded, Trees};
use crate::ext4::{Content, File, FileId, FileKind, FileSystem, FileTree, ReadAt, ReadError};
use crate::tree::Limits;

/// A file system, and the tree of its files.
#[derive(Debug)]
pub(super) struct Side<R> {
    pub(super) files: FileSystem<R>,
    pub(super) tree: FileTree,
}

impl<R: ReadAt> Side<R> {
    /// Reads all but the contents of files.
    pub(super) fn read(disk: R, limits: &Limits) -> Result<Self, ReadError> {
        let files = FileSystem::open(disk)?;
        let tree = files.tree(limits)?;
        Ok(Self { files, tree })
    }
}

/// Files, and those to compare them with.
#[derive(Debug)]
pub(super) struct Sources<'a, R> {
    pub(super) trees: Trees<'a>,
    files: &'a FileSystem<R>,
    base: Option<&'a FileSystem<R>>,
    differing: Differing,
}

impl<'a, R: ReadAt> Sources<'a, R> {
    pub(super) fn new(new: &'a Side<R>, base: Option<&'a Side<R>>, differing: Differing) -> Self {
        Self {
            trees: Trees {
                new: &new.tree,
                base: base.map(|base| &base.tree),
            },
            files: &new.files,
            base: base.map(|base| &base.files),
            differing,
        }
    }

    pub(super) fn new_file(&self, id: FileId) -> &'a File {
        self.trees.new.file(id)
    }

    /// Fills `buf` with the bytes of a file of the new tree.
    pub(super) fn read(&self, content: &Content, offset: u64, buf: &mut [u8]) -> Result<(), Fault> {
        self.files.read(content, offset, buf).map_err(Fault::New)
    }

    /// Whether a directory differs from what had its name, apart from what is in it.
    pub(super) fn directory_differs(&self, new: FileId, base: Option<FileId>) -> bool {
        let old = base.and_then(|id| Some(self.trees.base?.file(id)));
        old.is_none_or(|old| {
            let is_directory = matches!(old.kind, FileKind::Directory(_));
            !is_directory || old.attributes != self.new_file(new).attributes
        })
    }

    fn file_differs(&self, new: FileId, base: FileId) -> Result<bool, Fault> {
        let (Some(files), Some(tree)) = (self.base, self.trees.base) else {
            return Ok(true);
        };
        let (ours, theirs) = (self.new_file(new), tree.file(base));
        if ours.attributes != theirs.attributes {
            return Ok(true);
        }
        let (FileKind::Regular(ours), FileKind::Regular(theirs)) = (&ours.kind, &theirs.kind)
        else {
            return Ok(ours.kind != theirs.kind);
        };
        let ours = OnDisk {
            files: self.files,
            content: ours,
        };
        let theirs = OnDisk {
            files,
            content: theirs,
        };
        Ok(!content::same(&ours, &theirs, &self.differing)?)
    }
}

/// Which files that are no directories differ from the base's, or are linked in another way.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) links: Links,
    differs: Vec<bool>,
    /// Bytes of the regular files that do.
    pub(super) bytes: u64,
}

impl Changes {
    pub(super) fn find<R: ReadAt>(
        sources: &Sources<'_, R>,
        excluded: &Excluded,
        limit_bytes: u64,
    ) -> Result<Self, Fault> {
        let links = Links::find(sources.trees, excluded)?;
        let mut differs = vec![false; sources.trees.new.len()];
        let mut bytes = 0u64;
        for id in sources.trees.new.ids() {
            if links.names(id) == 0 {
                continue;
            }
            let changed = match links.same(id) {
                Some(base) => sources.file_differs(id, base)?,
                None => true,
            };
            differs[id.index()] = changed;
            if let FileKind::Regular(content) = &sources.new_file(id).kind
                && changed
            {
                bytes = bytes.saturating_add(content.len);
            }
        }
        if bytes > limit_bytes {
            return Err(PublishError::TooLarge {
                bytes,
                limit: limit_bytes,
            }
            .into());
        }
        Ok(Self {
            links,
            differs,
            bytes,
        })
    }

    pub(super) fn file_differs(&self, id: FileId) -> bool {
        self.differs[id.index()]
    }
}
