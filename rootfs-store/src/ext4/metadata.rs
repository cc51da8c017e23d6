//! Metadata that needs blocks or inodes of its own: large directories and extended attributes.

use super::directory::{DOTS_BYTES, ENTRIES_BYTES, Entry};
use super::error::LayoutError;
use super::format::{BLOCK_BYTES, BLOCK_U32};
use super::htree;
use super::names::first_path;
use super::survey::{Body, Node, SLOW_SYMLINK_BYTES, Survey};
use super::xattr::{Plan, XattrFault};
use crate::tree::{InodeId, Kind, Tree};

/// Most bytes of a directory: four extents, all that fits into its inode.
const MAX_DIRECTORY_BYTES: usize = 4 * 32768 * BLOCK_BYTES;

impl Survey {
    /// Finds what needs a block for extended attributes, and numbers the inodes of large values.
    pub(super) fn plan_xattrs(&mut self, tree: &Tree) -> Result<(), LayoutError> {
        for index in 0..self.records.len() {
            let Node::Tree(id) = self.records[index].node else {
                continue;
            };
            let inode = tree.inode(id);
            if inode.attributes.xattrs.is_empty() {
                continue;
            }
            let plan = plan_of(tree, id)?;
            self.records[index].has_xattr_block = !plan.in_block.is_empty();
            let values = plan.own_values();
            if values.is_empty() {
                continue;
            }
            // Linux takes such a link's target for the number of a block, because its inode counts the values' blocks.
            if matches!(&inode.kind, Kind::Symlink(t) if t.len() < SLOW_SYMLINK_BYTES) {
                let path = first_path(tree, id);
                return Err(LayoutError::XattrsTooLarge { path });
            }
            self.records[index].first_value = self.last_ino() + 1;
            for (value, number) in values.into_iter().zip(0..) {
                let ino = self.last_ino() + 1;
                self.add(tree, Node::Value { owner: id, number }, ino)?;
                let bytes = u32::try_from(value.len()).unwrap_or(u32::MAX);
                let body = Body::Value { bytes };
                self.records[index].value_blocks += bytes.div_ceil(BLOCK_U32);
                if let Some(record) = self.records.last_mut() {
                    record.body = body;
                    record.links = 1;
                }
            }
        }
        Ok(())
    }

    /// Renders what needs an index.
    pub(super) fn render_directories(&mut self, tree: &Tree) -> Result<(), LayoutError> {
        for index in 0..self.records.len() {
            let record = &self.records[index];
            if !matches!(record.body, Body::SmallDirectory) {
                continue;
            }
            let entries = self.entries(tree, record.node);
            let bytes: usize = entries.iter().map(Entry::len).sum();
            if DOTS_BYTES + bytes <= ENTRIES_BYTES {
                continue;
            }
            let blocks = htree::render(record.ino, record.parent, entries);
            let blocks = blocks.filter(|blocks| blocks.len() <= MAX_DIRECTORY_BYTES);
            let Some(blocks) = blocks else {
                let path = match record.node {
                    Node::Tree(id) => first_path(tree, id),
                    _ => String::new(),
                };
                return Err(LayoutError::DirectoryTooLarge { path });
            };
            self.records[index].body = Body::LargeDirectory(blocks);
        }
        Ok(())
    }
}

/// The places of a file's extended attributes.
pub(super) fn plan_of(tree: &Tree, id: InodeId) -> Result<Plan<'_>, LayoutError> {
    Plan::new(&tree.inode(id).attributes.xattrs).map_err(|fault| {
        let path = first_path(tree, id);
        match fault {
            XattrFault::Acl(name) => LayoutError::Acl { path, name },
            XattrFault::TooLarge => LayoutError::XattrsTooLarge { path },
        }
    })
}
