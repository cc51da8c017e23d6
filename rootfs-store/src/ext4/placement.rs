//! Where everything goes on a disk of a given size.
//!
//! Metadata comes first, then small files in the order of their paths, then large files, each from a chunk boundary
//! on. So a file that changes takes few chunks with it, and equal files of two images are equal chunks.
//!
//! Invariant: no chunk of a large file holds anything else.

use std::ops::Range;

use super::allocator::Allocator;
use super::extent::{Extent, tree_blocks};
use super::format::{BLOCK, INODES_PER_BLOCK, low_u32};
use super::geometry::Geometry;
use super::survey::{Node, Survey};
use crate::tree::{Content, Kind, Run, Tree};

/// Chunks of small files, on average, between two places where packing starts anew at a chunk boundary. Without such
/// places a new small file would move all that follow it.
const RUN_CHUNKS: u64 = 8;

/// What a range of blocks holds, apart from contents of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The superblock and the descriptors, or the copy that a group starts with.
    Copy {
        group: u32,
    },
    /// The list of where the copies of each reserved descriptor block are.
    ReservedDescriptors,
    BlockBitmap {
        group: u32,
    },
    InodeBitmap {
        group: u32,
    },
    InodeTable {
        group: u32,
    },
    /// The block of the resize inode that names the reserved descriptor blocks.
    ResizeMap,
    Journal,
    /// Blocks of record `index` that are no content.
    Body {
        index: usize,
    },
    XattrBlock {
        index: usize,
    },
    ExtentTree {
        index: usize,
    },
}

/// A part and the blocks it takes.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) blocks: Range<u64>,
    pub(super) part: Part,
}

/// Where the blocks of a record are.
#[derive(Debug, Clone, Default)]
pub(super) struct Home {
    /// First of the blocks that are no content.
    pub(super) body: u64,
    pub(super) xattr_block: u64,
    /// First block of the tree of extents, if they don't fit into the inode.
    pub(super) extent_tree: u64,
    /// Which of the disk's extents are the file's.
    pub(super) extents: Range<usize>,
}

/// A place for everything.
#[derive(Debug)]
pub(super) struct Placement {
    /// Sorted, without copies and bitmaps, whose blocks follow from what else there is.
    pub(super) parts: Vec<Placed>,
    /// All contents, sorted by place.
    pub(super) extents: Vec<Extent>,
    /// By index of the record.
    pub(super) homes: Vec<Home>,
    pub(super) block_bitmaps: Vec<u64>,
    pub(super) inode_bitmaps: Vec<u64>,
    pub(super) inode_tables: Vec<u64>,
    pub(super) resize_map: u64,
    pub(super) journal: u64,
    /// Blocks in use, sorted and apart, without the copies.
    pub(super) used: Vec<Range<u64>>,
    /// Blocks that the file system must have.
    pub(super) end: u64,
}

impl Placement {
    /// Places everything, if need be behind the end of the disk: compare [`Self::end`] with its size.
    pub(super) fn of(tree: &Tree, survey: &Survey, geometry: &Geometry) -> Self {
        let mut placer = Placer {
            tree,
            survey,
            geometry,
            allocator: Allocator::new(geometry),
            placement: Self {
                parts: Vec::new(),
                extents: Vec::new(),
                homes: vec![Home::default(); survey.records.len()],
                block_bitmaps: Vec::new(),
                inode_bitmaps: Vec::new(),
                inode_tables: Vec::new(),
                resize_map: 0,
                journal: 0,
                used: Vec::new(),
                end: 0,
            },
        };
        placer.place_groups();
        placer.place_journal();
        placer.place_metadata();
        placer.place_small_files();
        placer.place_large_files();
        placer.place_extent_trees();
        let mut placement = placer.placement;
        (placement.used, placement.end) = placer.allocator.finish();
        placement.parts.sort_unstable_by_key(|p| p.blocks.start);
        placement
    }
}

#[derive(Debug)]
struct Placer<'a> {
    tree: &'a Tree,
    survey: &'a Survey,
    geometry: &'a Geometry,
    allocator: Allocator,
    placement: Placement,
}

impl<'a> Placer<'a> {
    /// Places the bitmaps and inode tables of all groups at the front of the disk (`flex_bg`).
    fn place_groups(&mut self) {
        let groups = 0..self.geometry.groups;
        let allocator = &mut self.allocator;
        self.placement.block_bitmaps = groups.clone().map(|_| allocator.whole(1)).collect();
        self.placement.inode_bitmaps = groups.clone().map(|_| allocator.whole(1)).collect();
        self.placement.resize_map = allocator.whole(1);
        allocator.seek(0);
        let blocks = u64::from(self.geometry.inode_table_blocks());
        let tables: Vec<_> = groups.map(|_| allocator.whole(blocks)).collect();
        for (&start, group) in tables.iter().zip(0..) {
            let used = self.geometry.used_inodes(group, self.survey.last_ino());
            let used = u64::from(used.div_ceil(INODES_PER_BLOCK));
            self.add(start, used, Part::InodeTable { group });
        }
        self.placement.inode_tables = tables;
        self.add(self.placement.resize_map, 1, Part::ResizeMap);
    }

    fn place_journal(&mut self) {
        self.allocator.seek(0);
        let blocks = u64::from(self.geometry.journal_blocks);
        self.placement.journal = self.allocator.whole(blocks);
        self.add(self.placement.journal, 1, Part::Journal);
    }

    fn place_metadata(&mut self) {
        self.allocator.seek(0);
        for (index, record) in self.survey.records.iter().enumerate() {
            let blocks = record.body.blocks();
            if blocks > 0 {
                let start = self.allocator.whole(blocks);
                self.placement.homes[index].body = start;
                self.add(start, blocks, Part::Body { index });
            }
            if record.has_xattr_block {
                let start = self.allocator.whole(1);
                self.placement.homes[index].xattr_block = start;
                self.add(start, 1, Part::XattrBlock { index });
            }
        }
    }

    fn place_small_files(&mut self) {
        let chunk_blocks = self.geometry.chunk_blocks;
        self.allocator.seek(0);
        for (index, content) in self.contents() {
            let blocks = content_blocks(content);
            if blocks == 0 || is_large(blocks, chunk_blocks) {
                continue;
            }
            let first = self.placement.extents.len();
            for run in &content.runs {
                let start = self.allocator.whole(run.len.div_ceil(BLOCK));
                self.add_extent(run, 0, run.len, start);
            }
            self.placement.homes[index].extents = first..self.placement.extents.len();
            let hash = u64::from(self.survey.records[index].path_hash);
            if hash * RUN_CHUNKS * chunk_blocks < blocks << 32 {
                self.allocator.seek(0);
            }
        }
    }

    fn place_large_files(&mut self) {
        let chunk_blocks = self.geometry.chunk_blocks;
        for (index, content) in self.contents() {
            if !is_large(content_blocks(content), chunk_blocks) {
                continue;
            }
            // A hole at the front is no reason to share a chunk with the file before.
            self.allocator.seek(0);
            let first = self.placement.extents.len();
            for (number, run) in content.runs.iter().enumerate() {
                let align = number == 0 || is_large(run.len.div_ceil(BLOCK), chunk_blocks);
                self.place_large_run(run, align);
            }
            self.placement.homes[index].extents = first..self.placement.extents.len();
        }
    }

    /// Places a run; if it is aligned, chunks of the disk are chunks of the file, holes or not.
    fn place_large_run(&mut self, run: &Run, align: bool) {
        let mut done = 0;
        while done < run.len {
            if align {
                let phase = (run.file_offset + done) / BLOCK % self.geometry.chunk_blocks;
                self.allocator.seek(phase);
            }
            let left = (run.len - done).div_ceil(BLOCK);
            let range = self.allocator.extent(left);
            let bytes = ((range.end - range.start) * BLOCK).min(run.len - done);
            self.add_extent(run, done, bytes, range.start);
            done += bytes;
        }
    }

    fn add_extent(&mut self, run: &Run, done: u64, bytes: u64, start: u64) {
        self.placement.extents.push(Extent {
            start,
            spool_offset: run.spool_offset + done,
            // The tree keeps files within 32-bit block numbers.
            logical: low_u32((run.file_offset + done) / BLOCK),
            // An extent has at most 128 MiB.
            bytes: low_u32(bytes),
        });
    }

    fn place_extent_trees(&mut self) {
        self.allocator.seek(0);
        for index in 0..self.placement.homes.len() {
            let blocks = tree_blocks(self.placement.homes[index].extents.len());
            if blocks > 0 {
                let start = self.allocator.whole(blocks as u64);
                self.placement.homes[index].extent_tree = start;
                self.add(start, blocks as u64, Part::ExtentTree { index });
            }
        }
    }

    /// Records with contents, in order.
    fn contents(&self) -> impl Iterator<Item = (usize, &'a Content)> + use<'a> {
        let tree = self.tree;
        let records = self.survey.records.iter().enumerate();
        records.filter_map(|(index, record)| match record.node {
            Node::Tree(id) => match &tree.inode(id).kind {
                Kind::File(content) => Some((index, content)),
                _ => None,
            },
            _ => None,
        })
    }

    fn add(&mut self, start: u64, blocks: u64, part: Part) {
        if blocks > 0 {
            let blocks = start..start + blocks;
            self.placement.parts.push(Placed { blocks, part });
        }
    }
}

/// The least bytes of a file without holes that starts at a chunk boundary.
pub(crate) fn min_aligned_bytes(chunk_bytes: u32) -> u64 {
    (u64::from(chunk_bytes) / BLOCK / 2 - 1) * BLOCK + 1
}

/// Whether a file or run starts at a chunk boundary.
fn is_large(blocks: u64, chunk_blocks: u64) -> bool {
    blocks * 2 >= chunk_blocks
}

/// Blocks that are no holes.
fn content_blocks(content: &Content) -> u64 {
    content.runs.iter().map(|run| run.len.div_ceil(BLOCK)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_aligned_from_their_least_length_on() {
        for chunk_bytes in [16 << 10, 64 << 10, 1 << 20] {
            let blocks = |len: u64| len.div_ceil(BLOCK);
            let chunk_blocks = u64::from(chunk_bytes) / BLOCK;
            let least = min_aligned_bytes(chunk_bytes);
            assert!(is_large(blocks(least), chunk_blocks));
            assert!(!is_large(blocks(least - 1), chunk_blocks));
        }
    }
}
