//! A disk that is computed where it is read.
//!
//! Invariant: outside of the placed parts and extents, which are sorted and apart, the disk is zero.

use std::borrow::Borrow;
use std::io;
use std::ops::Range;

use super::error::LayoutError;
use super::format::{BLOCK, BLOCK_BYTES, BLOCKS_PER_GROUP, JOURNAL_INO};
use super::geometry::{Geometry, MAX_DISK_BYTES, chunk_blocks};
use super::groups::Groups;
use super::placement::{Part, Placed, Placement};
use super::superblock::{LABEL_BYTES, Totals};
use super::survey::Survey;
use crate::tree::Tree;

/// A disk with an ext4 file system that holds a tree, computed on demand.
///
/// Memory holds what the tree's metadata takes; contents are read from the tree's spool each time.
#[derive(Debug)]
pub struct Layout<T = Tree> {
    tree: T,
    pub(super) survey: Survey,
    pub(super) geometry: Geometry,
    pub(super) placement: Placement,
    pub(super) groups: Groups,
    pub(super) totals: Totals,
    disk_bytes: u64,
}

impl Layout<Tree> {
    /// Size in bytes of the smallest disk that holds `tree`, a multiple of `chunk_bytes`; it has no room to spare.
    ///
    /// # Errors
    /// Any [`LayoutError`] but [`LayoutError::DiskTooSmall`].
    pub fn minimum_bytes(tree: &Tree, chunk_bytes: u32) -> Result<u64, LayoutError> {
        chunk_blocks(chunk_bytes)?;
        minimum_bytes(tree, &Survey::of(tree)?, chunk_bytes)
    }
}

impl<T: Borrow<Tree>> Layout<T> {
    /// Places everything of `tree` on a disk of `disk_bytes`, of which at most the last 2 MiB are left unused.
    ///
    /// The disk's bytes depend on the arguments and on nothing else.
    ///
    /// # Errors
    /// [`LayoutError::DiskTooSmall`] says which size would do; the others, what ext4 can't hold.
    pub fn plan(tree: T, disk_bytes: u64, chunk_bytes: u32) -> Result<Self, LayoutError> {
        chunk_blocks(chunk_bytes)?;
        let survey = Survey::of(tree.borrow())?;
        let placed = place(tree.borrow(), &survey, disk_bytes, chunk_bytes)?;
        let Some((geometry, mut placement)) = placed.filter(|(g, p)| p.end <= g.blocks) else {
            let needed = minimum_bytes(tree.borrow(), &survey, chunk_bytes)?;
            return Err(LayoutError::DiskTooSmall { disk_bytes, needed });
        };
        let groups = Groups::new(&geometry, &survey, &placement);
        place_copies_and_bitmaps(&geometry, &groups, &mut placement);
        let totals = Totals {
            free_blocks: groups.free_blocks,
            free_inodes: groups.free_inodes,
            value_inodes: survey.records.iter().any(|r| r.first_value != 0),
            journal: super::render::journal_body(&geometry, &placement),
            label: [0; LABEL_BYTES],
        };
        Ok(Self {
            tree,
            survey,
            geometry,
            placement,
            groups,
            totals,
            disk_bytes,
        })
    }

    /// The same disk, whose file system is called `label`: its first [`LABEL_BYTES`] bytes.
    pub(crate) fn labelled(mut self, label: &str) -> Self {
        for (byte, letter) in self.totals.label.iter_mut().zip(label.bytes()) {
            *byte = letter;
        }
        self
    }

    /// What is on the disk.
    pub(crate) fn tree(&self) -> &Tree {
        self.tree.borrow()
    }

    /// The disk's size in bytes.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    /// Fills `buf` with the disk's bytes from `offset` on, which may be any number. Several threads may read at once.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if the range passes the end of the disk; else what reading the spool says.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.disk_bytes) {
            let message = format!(
                "{} bytes at {offset} pass the end of a disk of {} bytes",
                buf.len(),
                self.disk_bytes
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        self.read_with(buf, offset, |spool_offset, piece| {
            self.tree().read_spool(spool_offset, piece)
        })
    }

    /// As [`Self::read_at`], for contents that `read` finds by what stands for their first byte in a
    /// [`Run`](crate::tree::Run). Behind the end of the disk, all is zero.
    pub(crate) fn read_with<E>(
        &self,
        buf: &mut [u8],
        offset: u64,
        read: impl Fn(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        buf.fill(0);
        let bytes = offset..offset + buf.len() as u64;
        self.read_parts(buf, &bytes);
        self.read_extents(buf, bytes, read)
    }

    /// What a range of the disk that starts with a block holds, if that is one piece of a file at its front and nothing
    /// else: what stands for its first byte in a [`Run`](crate::tree::Run), and how many bytes there are.
    pub(crate) fn sole_content(&self, bytes: &Range<u64>) -> Option<(u64, u64)> {
        let extents = &self.placement.extents;
        let first = extents.partition_point(|e| e.end() * BLOCK <= bytes.start);
        let extent = extents.get(first)?;
        let skipped = bytes.start.checked_sub(extent.start * BLOCK)?;
        let following = extents.get(first + 1);
        let parts = &self.placement.parts;
        let part = parts.get(parts.partition_point(|p| p.blocks.end * BLOCK <= bytes.start));
        if following.is_some_and(|e| e.start * BLOCK < bytes.end)
            || part.is_some_and(|p| p.blocks.start * BLOCK < bytes.end)
        {
            return None;
        }
        let len = u64::from(extent.bytes).saturating_sub(skipped);
        Some((
            extent.spool_offset + skipped,
            len.min(bytes.end - bytes.start),
        ))
    }

    /// Ranges of bytes outside of which the disk is all zero: sorted, apart, and made of whole blocks of 4096 bytes.
    pub fn occupied(&self) -> impl Iterator<Item = Range<u64>> {
        let mut parts = self.placement.parts.iter().map(|p| p.blocks.clone());
        let mut extents = self.placement.extents.iter().map(|e| e.start..e.end());
        let (mut part, mut extent) = (parts.next(), extents.next());
        let mut next = move || match (&part, &extent) {
            (Some(p), Some(e)) if p.start > e.start => {
                std::mem::replace(&mut extent, extents.next())
            }
            (None, _) => std::mem::replace(&mut extent, extents.next()),
            _ => std::mem::replace(&mut part, parts.next()),
        };
        let mut pending = next();
        std::iter::from_fn(move || {
            let mut range = pending.take()?;
            while let Some(following) = next() {
                if following.start > range.end {
                    pending = Some(following);
                    break;
                }
                range.end = following.end;
            }
            Some(range.start * BLOCK..range.end * BLOCK)
        })
    }

    /// Numbers of the chunks that may hold something, ascending.
    pub(crate) fn occupied_chunks(&self, chunk_bytes: u32) -> Vec<u64> {
        let chunk_len = u64::from(chunk_bytes);
        let mut numbers: Vec<u64> = Vec::new();
        for range in self.occupied() {
            let first = (range.start / chunk_len).max(numbers.last().map_or(0, |last| last + 1));
            numbers.extend(first..range.end.div_ceil(chunk_len));
        }
        numbers
    }

    /// Copies contents of files into `buf`, which stands for `bytes` of the disk.
    fn read_extents<E>(
        &self,
        buf: &mut [u8],
        bytes: Range<u64>,
        read: impl Fn(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let extents = &self.placement.extents;
        let first = extents.partition_point(|e| e.end() * BLOCK <= bytes.start);
        for extent in &extents[first..] {
            let start = extent.start * BLOCK;
            if start >= bytes.end {
                break;
            }
            let wanted = start.max(bytes.start)..(start + u64::from(extent.bytes)).min(bytes.end);
            if wanted.start < wanted.end {
                let spool_offset = extent.spool_offset + (wanted.start - start);
                read(spool_offset, slice(buf, bytes.start, &wanted))?;
            }
        }
        Ok(())
    }

    /// Renders metadata into `buf`, which stands for `bytes` of the disk.
    fn read_parts(&self, buf: &mut [u8], bytes: &Range<u64>) {
        let parts = &self.placement.parts;
        let first = parts.partition_point(|p| p.blocks.end * BLOCK <= bytes.start);
        for placed in &parts[first..] {
            if placed.blocks.start * BLOCK >= bytes.end {
                break;
            }
            let from = placed.blocks.start.max(bytes.start / BLOCK);
            let to = placed.blocks.end.min(bytes.end.div_ceil(BLOCK));
            for number in from..to {
                let mut block = [0; BLOCK_BYTES];
                self.render(placed, number, &mut block);
                let start = number * BLOCK;
                let wanted = start.max(bytes.start)..(start + BLOCK).min(bytes.end);
                let piece = slice(buf, bytes.start, &wanted);
                piece.copy_from_slice(slice(&mut block, start, &wanted));
            }
        }
    }
}

/// The bytes of a buffer, which starts at `start` of the disk, that stand for `wanted`.
fn slice<'a>(buf: &'a mut [u8], start: u64, wanted: &Range<u64>) -> &'a mut [u8] {
    // What is wanted lies within the buffer, so that the distances fit.
    let distance = |at: u64| usize::try_from(at - start).unwrap_or(usize::MAX);
    &mut buf[distance(wanted.start)..distance(wanted.end)]
}

/// Places everything, be the disk large enough or not; nothing if it has not enough inodes.
fn place(
    tree: &Tree,
    survey: &Survey,
    disk_bytes: u64,
    chunk_bytes: u32,
) -> Result<Option<(Geometry, Placement)>, LayoutError> {
    let geometry = Geometry::new(disk_bytes, survey.last_ino(), chunk_bytes)?;
    Ok(geometry.map(|geometry| {
        let placement = Placement::of(tree, survey, &geometry);
        (geometry, placement)
    }))
}

/// Tries sizes from below until one is enough. Each is what the one before lacked, and a larger disk needs but a
/// little more metadata, so that few are tried.
fn minimum_bytes(tree: &Tree, survey: &Survey, chunk_bytes: u32) -> Result<u64, LayoutError> {
    let chunk = u64::from(chunk_bytes);
    let mut disk_bytes = Geometry::lower_bound(survey.last_ino()).next_multiple_of(chunk);
    while disk_bytes <= MAX_DISK_BYTES {
        let missing = match place(tree, survey, disk_bytes, chunk_bytes)? {
            Some((geometry, placement)) if placement.end <= geometry.blocks => {
                return Ok(disk_bytes);
            }
            Some((_, placement)) => Geometry::enough_blocks(placement.end),
            None => disk_bytes / BLOCK + BLOCKS_PER_GROUP,
        };
        disk_bytes = (missing * BLOCK)
            .max(disk_bytes + 1)
            .next_multiple_of(chunk);
    }
    let limit = MAX_DISK_BYTES;
    Err(LayoutError::DiskTooLarge { disk_bytes, limit })
}

/// Adds the parts that are known only when everything else is placed.
fn place_copies_and_bitmaps(geometry: &Geometry, groups: &Groups, placement: &mut Placement) {
    let mut add = |start: u64, blocks: u64, part: Part| {
        let blocks = start..start + blocks;
        placement.parts.push(Placed { blocks, part });
    };
    let copy_blocks = 1 + u64::from(geometry.descriptor_blocks);
    for group in std::iter::once(0).chain(geometry.backup_groups()) {
        let start = u64::from(group) * BLOCKS_PER_GROUP;
        add(start, copy_blocks, Part::Copy { group });
    }
    if geometry.groups > 1 {
        let reserved = u64::from(geometry.reserved_descriptor_blocks);
        add(copy_blocks, reserved, Part::ReservedDescriptors);
    }
    for &group in &groups.with_block_bitmap {
        let start = placement.block_bitmaps[group as usize];
        add(start, 1, Part::BlockBitmap { group });
    }
    for &group in &groups.with_inode_bitmap {
        let start = placement.inode_bitmaps[group as usize];
        add(start, 1, Part::InodeBitmap { group });
    }
    placement.parts.sort_unstable_by_key(|p| p.blocks.start);
}

const _: () = assert!(JOURNAL_INO < super::format::FIRST_INO);

#[cfg(test)]
mod tests;
