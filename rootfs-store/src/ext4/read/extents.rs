//! Extents: which blocks of the disk are which of a file.

use super::budget::Budget;
use super::disk::Disk;
use super::fields::{split_u48_at, u16_at, u32_at};
use super::inode::Inode;
use super::{BlockRun, ReadAt, ReadError};
use crate::ext4::checksum::crc;
use crate::ext4::format::flag;

const MAGIC: u16 = 0xf30a;
const HEADER_BYTES: usize = 12;
const ENTRY_BYTES: usize = 12;
/// Most levels of blocks below an inode (Linux: `EXT4_MAX_EXTENT_DEPTH`).
const MAX_DEPTH: u16 = 5;
/// Lengths above this are those of extents that were never written, which read as zeros.
const MAX_WRITTEN: u16 = 32768;

/// The blocks of a file that hold something, in order.
pub(super) fn runs<R: ReadAt>(
    disk: &Disk<R>,
    inode: &Inode,
    budget: &mut Budget,
) -> Result<Vec<BlockRun>, ReadError> {
    if !inode.has(flag::EXTENTS) {
        // In a map of blocks, zeros are holes.
        return match inode.body.iter().all(|byte| *byte == 0) {
            true => Ok(Vec::new()),
            false => Err(ReadError::UnsupportedInode {
                ino: inode.ino,
                what: "a map of blocks instead of extents",
            }),
        };
    }
    let mut walk = Walk {
        disk,
        inode,
        budget,
        runs: Vec::new(),
        next: 0,
    };
    let depth = u16_at(&inode.body, 6);
    if depth > MAX_DEPTH {
        return Err(inode.damaged("depth of extents"));
    }
    walk.node(&inode.body, depth, |what| inode.damaged(what))?;
    Ok(walk.runs)
}

struct Walk<'a, R> {
    disk: &'a Disk<R>,
    inode: &'a Inode,
    budget: &'a mut Budget,
    runs: Vec<BlockRun>,
    /// The first block of the file that no extent has said anything about yet.
    next: u64,
}

impl<R: ReadAt> Walk<'_, R> {
    /// Takes in what hangs on a node, which has at most [`MAX_DEPTH`] levels below it.
    fn node(
        &mut self,
        bytes: &[u8],
        depth: u16,
        damaged: impl Fn(&'static str) -> ReadError,
    ) -> Result<(), ReadError> {
        let entries = usize::from(u16_at(bytes, 2));
        let end = HEADER_BYTES + entries * ENTRY_BYTES;
        if u16_at(bytes, 0) != MAGIC || u16_at(bytes, 6) != depth || end > bytes.len() {
            return Err(damaged("header of extents"));
        }
        self.budget.metadata(ENTRY_BYTES + end)?;
        for entry in bytes[HEADER_BYTES..end].chunks_exact(ENTRY_BYTES) {
            match depth.checked_sub(1) {
                None => self.extent(entry).map_err(&damaged)?,
                Some(below) => self.block(split_u48_at(entry, 4, 8), below)?,
            }
        }
        Ok(())
    }

    fn block(&mut self, number: u64, depth: u16) -> Result<(), ReadError> {
        let ino = self.inode.ino;
        let damaged = |what| ReadError::Block {
            ino,
            block: number,
            what,
        };
        if number == 0 || !self.disk.has_blocks(number, 1) {
            return Err(self.inode.damaged("extents' block"));
        }
        let block = self.disk.block(number)?;
        if let Some(seed) = self.inode.checksum_seed {
            let end = HEADER_BYTES + usize::from(u16_at(&block, 4)) * ENTRY_BYTES;
            let covered = block.get(..end).filter(|_| end + 4 <= block.len());
            if covered.is_none_or(|covered| crc(seed, covered) != u32_at(&block, end)) {
                return Err(damaged("checksum"));
            }
        }
        self.node(&block, depth, damaged)
    }

    fn extent(&mut self, entry: &[u8]) -> Result<(), &'static str> {
        let first = u32_at(entry, 0);
        let len = u16_at(entry, 4);
        let start = split_u48_at(entry, 8, 6);
        let blocks = u32::from(if len > MAX_WRITTEN {
            len - MAX_WRITTEN
        } else {
            len
        });
        let end = u64::from(first) + u64::from(blocks);
        if u64::from(first) < self.next || blocks == 0 || end > 1 << 32 {
            return Err("order of extents");
        }
        if start == 0 || !self.disk.has_blocks(start, u64::from(blocks)) {
            return Err("extent");
        }
        self.next = end;
        if len > MAX_WRITTEN {
            return Ok(());
        }
        match self.runs.last_mut() {
            // Fails for a file of 2^32 blocks only.
            Some(last)
                if last.end() == u64::from(first)
                    && last.start + u64::from(last.blocks) == start =>
            {
                match last.blocks.checked_add(blocks) {
                    Some(sum) => last.blocks = sum,
                    None => return Err("number of blocks"),
                }
            }
            _ => self.runs.push(BlockRun {
                first,
                blocks,
                start,
            }),
        }
        Ok(())
    }
}
