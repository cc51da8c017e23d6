//! What a tree needs on a disk of any size: inode numbers, link counts, directories, and blocks that are no content.
//!
//! Invariant: inodes are numbered in the order of their first paths, and everything else follows that order.

use std::collections::btree_map;

use super::checksum::crc;
use super::directory::{Entry, EntryType};
use super::error::LayoutError;
use super::format::{BLOCK_BYTES, BLOCK_U32, FIRST_INO, ROOT_INO};
use super::names::first_path;
use crate::tree::{Inode, InodeId, Kind, Tree};

/// Most inodes of a disk; keeps all sums within 32 bits.
const MAX_INODES: u32 = 1 << 30;
/// Most names of a file (Linux: `EXT4_LINK_MAX`). A directory with more subdirectories has a count of 1 instead.
pub(super) const MAX_LINKS: u32 = 65000;
/// Shortest target of a symbolic link that does not fit into the inode.
pub(super) const SLOW_SYMLINK_BYTES: usize = 60;
pub(super) const LOST_AND_FOUND: &[u8] = b"lost+found";

/// What has an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    /// A file of the tree.
    Tree(InodeId),
    /// The `lost+found` of a tree that has none.
    LostAndFound,
    /// A large extended attribute's value: of which file, and which of that file's large values.
    Value { owner: InodeId, number: u32 },
}

/// What is known of one inode before it has a place.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) node: Node,
    pub(super) ino: u32,
    /// Of a directory, the inode of `..`.
    pub(super) parent: u32,
    pub(super) links: u32,
    /// Hash of its first path.
    pub(super) path_hash: u32,
    /// Inode of its first large extended attribute.
    pub(super) first_value: u32,
    /// Bytes of all its large extended attributes, in whole blocks.
    pub(super) value_blocks: u32,
    pub(super) has_xattr_block: bool,
    pub(super) body: Body,
}

/// What an inode's blocks hold.
#[derive(Debug)]
pub(super) enum Body {
    /// It has no blocks, or blocks with a file's content.
    Content,
    /// The entries of a directory, rendered when they are read.
    SmallDirectory,
    /// The blocks of an indexed directory.
    LargeDirectory(Box<[u8]>),
    /// The target of a symbolic link.
    SlowSymlink,
    /// The value of an extended attribute of this many bytes.
    Value { bytes: u32 },
}

impl Body {
    /// How many blocks that are no content it has.
    pub(super) fn blocks(&self) -> u64 {
        let bytes = match self {
            Self::Content => 0,
            Self::SmallDirectory | Self::SlowSymlink => 1,
            Self::LargeDirectory(blocks) => blocks.len(),
            Self::Value { bytes } => return u64::from(bytes.div_ceil(BLOCK_U32)),
        };
        bytes.div_ceil(BLOCK_BYTES) as u64
    }
}

/// All inodes of a disk but the reserved ones; the root comes first, then those from [`FIRST_INO`] on.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) records: Vec<Record>,
    /// By index in the tree; 0 for what no path leads to.
    numbers: Vec<u32>,
}

impl Survey {
    pub(super) fn of(tree: &Tree) -> Result<Self, LayoutError> {
        let mut survey = Self {
            records: Vec::new(),
            numbers: vec![0; tree.inode_count()],
        };
        survey.number_first(tree)?;
        survey.number_rest(tree)?;
        survey.plan_xattrs(tree)?;
        survey.render_directories(tree)?;
        Ok(survey)
    }

    /// The highest inode number in use.
    pub(super) fn last_ino(&self) -> u32 {
        self.records.last().map_or(ROOT_INO, |record| record.ino)
    }

    /// The record of an inode, unless it is reserved or unused.
    pub(super) fn record(&self, ino: u32) -> Option<(usize, &Record)> {
        let index = match ino {
            ROOT_INO => 0,
            _ => usize::try_from(ino.checked_sub(FIRST_INO)?).ok()? + 1,
        };
        Some((index, self.records.get(index)?))
    }

    /// The entries of a directory in the order of their names.
    pub(super) fn entries<'a>(&self, tree: &'a Tree, node: Node) -> Vec<Entry<'a>> {
        let Node::Tree(id) = node else {
            return Vec::new();
        };
        let Kind::Directory(directory) = &tree.inode(id).kind else {
            return Vec::new();
        };
        let entry = |(name, id): (&'a [u8], InodeId)| Entry {
            name,
            ino: self.numbers[id.index()],
            kind: entry_type(tree.inode(id)),
        };
        let mut entries: Vec<_> = directory.iter().map(entry).collect();
        if id == InodeId::ROOT
            && let Err(place) = entries.binary_search_by_key(&LOST_AND_FOUND, |e| e.name)
        {
            entries.insert(place, Entry::directory(LOST_AND_FOUND, FIRST_INO));
        }
        entries
    }

    /// Numbers the root and `lost+found`, whose numbers are fixed.
    fn number_first(&mut self, tree: &Tree) -> Result<(), LayoutError> {
        self.add(tree, Node::Tree(InodeId::ROOT), ROOT_INO)?;
        self.records[0].parent = ROOT_INO;
        self.records[0].links = 2;
        let Kind::Directory(root) = &tree.inode(InodeId::ROOT).kind else {
            return Ok(());
        };
        match root.entries.get(LOST_AND_FOUND) {
            None => {
                self.add(tree, Node::LostAndFound, FIRST_INO)?;
                self.add_links(tree, 1, 0);
            }
            Some(entry) => {
                if !matches!(tree.inode(entry.inode).kind, Kind::Directory(_)) {
                    return Err(LayoutError::LostAndFound);
                }
                self.add(tree, Node::Tree(entry.inode), FIRST_INO)?;
            }
        }
        Ok(())
    }

    /// Numbers everything else on the way through the tree, and counts names.
    fn number_rest(&mut self, tree: &Tree) -> Result<(), LayoutError> {
        let mut open: Vec<(usize, btree_map::Iter<'_, _, _>)> = Vec::new();
        if let Kind::Directory(root) = &tree.inode(InodeId::ROOT).kind {
            open.push((0, root.entries.iter()));
        }
        while let Some((parent, entries)) = open.last_mut() {
            let parent = *parent;
            let Some((name, entry)) = entries.next() else {
                open.pop();
                continue;
            };
            let mut ino = self.numbers[entry.inode.index()];
            if ino == 0 {
                ino = self.last_ino() + 1;
                self.add(tree, Node::Tree(entry.inode), ino)?;
                self.hash_path(parent, name);
            }
            let (index, record) = self.record(ino).unwrap_or((0, &self.records[0]));
            if record.links >= MAX_LINKS {
                return Err(self.too_many_links(tree, entry.inode));
            }
            self.add_links(tree, index, parent);
            if let Kind::Directory(directory) = &tree.inode(entry.inode).kind {
                open.push((index, directory.entries.iter()));
            }
        }
        Ok(())
    }

    /// Counts one more name, in directory `parent`, of record `index`.
    fn add_links(&mut self, tree: &Tree, index: usize, parent: usize) {
        let parent_ino = self.records[parent].ino;
        let record = &mut self.records[index];
        record.links += 1;
        let is_directory = match record.node {
            Node::Tree(id) => matches!(tree.inode(id).kind, Kind::Directory(_)),
            Node::LostAndFound => true,
            Node::Value { .. } => false,
        };
        if is_directory {
            record.links += 1;
            record.parent = parent_ino;
            self.records[parent].links += 1;
        }
    }

    /// Hashes the path of the record that was added last.
    fn hash_path(&mut self, parent: usize, name: &[u8]) {
        let hash = crc(self.records[parent].path_hash, b"/");
        if let Some(record) = self.records.last_mut() {
            record.path_hash = crc(hash, name);
        }
    }

    fn too_many_links(&self, tree: &Tree, id: InodeId) -> LayoutError {
        LayoutError::TooManyLinks {
            path: first_path(tree, id),
            links: super::names::count(tree, id),
            limit: MAX_LINKS,
        }
    }

    pub(super) fn add(&mut self, tree: &Tree, node: Node, ino: u32) -> Result<(), LayoutError> {
        if ino >= MAX_INODES {
            return Err(LayoutError::TooManyInodes { limit: MAX_INODES });
        }
        let mut body = Body::Content;
        if let Node::Tree(id) = node {
            self.numbers[id.index()] = ino;
            body = match &tree.inode(id).kind {
                Kind::Directory(_) => Body::SmallDirectory,
                Kind::Symlink(target) if target.len() >= SLOW_SYMLINK_BYTES => Body::SlowSymlink,
                _ => Body::Content,
            };
        } else if node == Node::LostAndFound {
            body = Body::SmallDirectory;
        }
        self.records.push(Record {
            node,
            ino,
            parent: 0,
            links: 0,
            path_hash: 0,
            first_value: 0,
            value_blocks: 0,
            has_xattr_block: false,
            body,
        });
        Ok(())
    }
}

fn entry_type(inode: &Inode) -> EntryType {
    match inode.kind {
        Kind::Directory(_) => EntryType::Directory,
        Kind::File(_) => EntryType::File,
        Kind::Symlink(_) => EntryType::Symlink,
        Kind::CharDevice(_) => EntryType::CharDevice,
        Kind::BlockDevice(_) => EntryType::BlockDevice,
        Kind::Fifo => EntryType::Fifo,
    }
}
