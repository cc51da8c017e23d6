//! What each block of metadata holds.

use std::borrow::Borrow;
use std::iter;

use super::directory::render_single;
use super::extent::{self, Extent};
use super::format::{
    BLOCK, BLOCK_BYTES, DESCRIPTOR_BYTES, DESCRIPTORS_PER_BLOCK, INODE_BYTES, INODES_PER_BLOCK,
    JOURNAL_INO, RESIZE_INO, flag, mode,
};
use super::geometry::Geometry;
use super::groups::{render_block_bitmap, render_inode_bitmap};
use super::inode::{BODY_BYTES, Fields, Times, device_body, put_unused};
use super::layout::Layout;
use super::metadata::plan_of;
use super::placement::{Home, Part, Placed, Placement};
use super::survey::{Body, MAX_LINKS, Node, Record, SLOW_SYMLINK_BYTES};
use super::xattr::{self, Plan};
use super::{journal, resize, superblock};
use crate::tree::{InodeId, Kind, Time, Tree};

impl<T: Borrow<Tree>> Layout<T> {
    /// Fills `block`, which is zero, with what block `number` of a part holds.
    pub(super) fn render(&self, placed: &Placed, number: u64, block: &mut [u8; BLOCK_BYTES]) {
        let geometry = &self.geometry;
        let within = usize::try_from(number - placed.blocks.start).unwrap_or(usize::MAX);
        match placed.part {
            Part::Copy { group } => self.render_copy(group, within, block),
            Part::ReservedDescriptors => resize::render_reserved(block, geometry, number),
            Part::BlockBitmap { group } => {
                render_block_bitmap(block, geometry, &self.placement.used, group);
            }
            Part::InodeBitmap { group } => {
                render_inode_bitmap(block, geometry, self.survey.last_ino(), group);
            }
            Part::InodeTable { group } => {
                let first = group * geometry.inodes_per_group + 1;
                let blocks = block.chunks_exact_mut(INODE_BYTES);
                // A table has at most 2048 blocks.
                let skipped = u32::try_from(within).unwrap_or(0) * INODES_PER_BLOCK;
                for (inode, ino) in blocks.zip(first + skipped..) {
                    self.put_inode(inode, ino);
                }
            }
            Part::ResizeMap => resize::render_map(block, geometry),
            Part::Journal => journal::render_superblock(block, geometry.journal_blocks),
            Part::Body { index } => self.render_body(&self.survey.records[index], within, block),
            Part::XattrBlock { index } => {
                let record = &self.survey.records[index];
                let plan = self.xattrs(record.node);
                xattr::render_block(block, number, &plan.in_block, record.first_value);
            }
            Part::ExtentTree { index } => {
                let home = &self.placement.homes[index];
                let (ino, extents) = (self.survey.records[index].ino, self.extents(home));
                extent::render_block(block, within, ino, extents, home.extent_tree);
            }
        }
    }

    /// The superblock, or a block of descriptors behind it.
    fn render_copy(&self, group: u32, within: usize, block: &mut [u8]) {
        if let Some(index) = within.checked_sub(1) {
            let start = index * DESCRIPTORS_PER_BLOCK as usize * DESCRIPTOR_BYTES;
            let descriptors = &self.groups.descriptors[start..];
            let bytes = descriptors.len().min(BLOCK_BYTES);
            block[..bytes].copy_from_slice(&descriptors[..bytes]);
            return;
        }
        let at = if group == 0 { superblock::OFFSET } else { 0 };
        let superblock = superblock::render(&self.geometry, &self.totals, group);
        block[at..at + superblock::BYTES].copy_from_slice(&superblock);
    }

    fn render_body(&self, record: &Record, within: usize, block: &mut [u8]) {
        let start = within * BLOCK_BYTES;
        match (&record.body, record.node) {
            (Body::SmallDirectory, node) => {
                let entries = self.survey.entries(self.tree(), node).into_iter();
                render_single(record.ino, record.parent, entries, block);
            }
            (Body::LargeDirectory(blocks), _) => {
                block.copy_from_slice(&blocks[start..start + BLOCK_BYTES]);
            }
            (Body::SlowSymlink, Node::Tree(id)) => {
                if let Kind::Symlink(target) = &self.tree().inode(id).kind {
                    block[..target.len()].copy_from_slice(target);
                }
            }
            (Body::Value { .. }, Node::Value { owner, number }) => {
                let plan = self.xattrs(Node::Tree(owner));
                let values = plan.own_values();
                let value = &values[number as usize][start..];
                let bytes = value.len().min(BLOCK_BYTES);
                block[..bytes].copy_from_slice(&value[..bytes]);
            }
            _ => {}
        }
    }

    /// Fills an inode of zeros.
    fn put_inode(&self, inode: &mut [u8], ino: u32) {
        if let Some((index, record)) = self.survey.record(ino) {
            let fields = self.fields(record, &self.placement.homes[index]);
            let plan = self.xattrs(record.node);
            fields.put(inode, ino, &plan.in_inode);
        } else if ino == JOURNAL_INO || ino == RESIZE_INO {
            self.reserved_fields(ino).put(inode, ino, &[]);
        } else if ino <= self.survey.last_ino() {
            put_unused(inode, ino);
        }
    }

    fn reserved_fields(&self, ino: u32) -> Fields {
        let (body, size, blocks, flags) = if ino == JOURNAL_INO {
            let (body, size) = self.totals.journal;
            (body, size, size / BLOCK, flag::EXTENTS)
        } else {
            let body = resize::body(self.placement.resize_map);
            (body, resize::SIZE, resize::blocks(&self.geometry), 0)
        };
        Fields {
            mode: mode::FILE | 0o600,
            uid: 0,
            gid: 0,
            links: 1,
            size,
            blocks,
            flags,
            body,
            xattr_block: 0,
            times: Times::All(Time::default()),
        }
    }

    fn fields(&self, record: &Record, home: &Home) -> Fields {
        let owner = match record.node {
            Node::Tree(id) | Node::Value { owner: id, .. } => id,
            Node::LostAndFound => InodeId::ROOT,
        };
        let attributes = &self.tree().inode(owner).attributes;
        let mut fields = Fields {
            mode: attributes.mode & 0o7777,
            uid: attributes.uid,
            gid: attributes.gid,
            // Only a directory can have more, and then says 1.
            links: u16::try_from(record.links)
                .ok()
                .filter(|n| u32::from(*n) <= MAX_LINKS || !is_directory(record))
                .unwrap_or(1),
            size: 0,
            blocks: u64::from(record.has_xattr_block) + u64::from(record.value_blocks),
            flags: 0,
            body: [0; BODY_BYTES],
            xattr_block: home.xattr_block,
            times: Times::All(attributes.mtime),
        };
        match record.node {
            Node::Tree(id) => self.add_kind(&mut fields, id, record, home),
            Node::LostAndFound => {
                (fields.mode, fields.uid, fields.gid) = (mode::DIRECTORY | 0o700, 0, 0);
                self.add_body(&mut fields, record, home);
            }
            Node::Value { owner, number } => {
                fields.mode = mode::FILE | 0o600;
                fields.flags = flag::EA_INODE;
                self.add_body(&mut fields, record, home);
                let plan = self.xattrs(Node::Tree(owner));
                let value = plan.own_values()[number as usize];
                fields.size = value.len() as u64;
                fields.times = Times::Value {
                    hash: xattr::value_hash(value),
                    references: 1,
                };
            }
        }
        fields
    }

    fn add_kind(&self, fields: &mut Fields, id: InodeId, record: &Record, home: &Home) {
        let file_type = match &self.tree().inode(id).kind {
            Kind::Directory(_) => {
                self.add_body(fields, record, home);
                mode::DIRECTORY
            }
            Kind::File(content) => {
                let extents = self.extents(home);
                let tree_blocks = extent::tree_blocks(extents.len()) as u64;
                fields.blocks += tree_blocks + extents.iter().map(Extent::blocks).sum::<u64>();
                fields.size = content.len;
                fields.flags |= flag::EXTENTS;
                extent::put_root(&mut fields.body, extents, home.extent_tree);
                mode::FILE
            }
            Kind::Symlink(target) => {
                if target.len() < SLOW_SYMLINK_BYTES {
                    fields.body[..target.len()].copy_from_slice(target);
                } else {
                    self.add_body(fields, record, home);
                }
                fields.size = target.len() as u64;
                mode::SYMLINK
            }
            Kind::CharDevice(device) => {
                fields.body = device_body(*device);
                mode::CHAR_DEVICE
            }
            Kind::BlockDevice(device) => {
                fields.body = device_body(*device);
                mode::BLOCK_DEVICE
            }
            Kind::Fifo => mode::FIFO,
        };
        fields.mode |= file_type;
    }

    /// Adds blocks that are no content, and their length.
    fn add_body(&self, fields: &mut Fields, record: &Record, home: &Home) {
        let blocks = record.body.blocks();
        fields.size = blocks * BLOCK;
        fields.blocks += blocks;
        fields.flags |= flag::EXTENTS;
        if matches!(record.body, Body::LargeDirectory(_)) {
            fields.flags |= flag::INDEX;
        }
        fields.body = contiguous_body(home.body, blocks);
    }

    fn extents(&self, home: &Home) -> &[Extent] {
        &self.placement.extents[home.extents.clone()]
    }

    /// The extended attributes of a node. That they have a place was seen when the layout was planned.
    fn xattrs(&self, node: Node) -> Plan<'_> {
        match node {
            Node::Tree(id) => plan_of(self.tree(), id).unwrap_or_default(),
            _ => Plan::default(),
        }
    }
}

fn is_directory(record: &Record) -> bool {
    matches!(record.body, Body::SmallDirectory | Body::LargeDirectory(_))
}

/// What the journal's inode says about its blocks, and its length in bytes.
pub(super) fn journal_body(geometry: &Geometry, placement: &Placement) -> ([u8; BODY_BYTES], u64) {
    let blocks = u64::from(geometry.journal_blocks);
    (contiguous_body(placement.journal, blocks), blocks * BLOCK)
}

/// The root of a tree of extents for blocks in a row, at most four extents of them.
fn contiguous_body(start: u64, blocks: u64) -> [u8; BODY_BYTES] {
    use super::format::{MAX_EXTENT_BLOCKS, low_u32};
    let mut done = 0;
    let extents: Vec<_> = iter::from_fn(|| {
        let length = (blocks - done).min(MAX_EXTENT_BLOCKS);
        let extent = Extent {
            start: start + done,
            spool_offset: 0,
            logical: low_u32(done),
            bytes: low_u32(length * BLOCK),
        };
        done += length;
        (length > 0).then_some(extent)
    })
    .collect();
    let mut body = [0; BODY_BYTES];
    extent::put_root(&mut body, &extents, 0);
    body
}
