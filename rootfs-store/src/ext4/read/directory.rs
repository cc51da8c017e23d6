//! Directories, read from front to back whether they have an index or not: blocks of the index look empty.

use super::fields::{u16_at, u32_at};
use crate::ext4::checksum::crc;

const HEADER_BYTES: usize = 8;
/// Bytes of the entry that holds a block's checksum.
const TAIL_BYTES: usize = 12;
/// Where a block of an index has the number of its entries, behind what looks like an empty block.
const NODE_COUNT: usize = 8;
/// The same in the first block of a directory, behind `.`, `..` and a description.
const ROOT_COUNT: usize = 0x20;
const INDEX_ENTRY_BYTES: usize = 8;

/// An entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) ino: u32,
    pub(super) name: &'a [u8],
}

/// The entries of a block but `.` and `..`; fails with what is wrong.
pub(super) fn entries(block: &[u8]) -> Result<Vec<Entry<'_>>, &'static str> {
    let mut entries = Vec::new();
    let mut at = 0;
    while at < block.len() {
        let rest = &block[at..];
        let (ino, len) = (u32_at(rest, 0), usize::from(u16_at(rest, 4)));
        let name_len = usize::from(rest.get(6).copied().unwrap_or(0));
        let fits = len <= rest.len() && len >= TAIL_BYTES && len.is_multiple_of(4);
        if !fits || (ino != 0 && HEADER_BYTES + name_len > len) {
            return Err("length of an entry");
        }
        at += len;
        if ino == 0 {
            continue;
        }
        let name = &rest[HEADER_BYTES..HEADER_BYTES + name_len];
        match name {
            b"." | b".." => {}
            _ if name.is_empty() || name.contains(&b'/') || name.contains(&0) => {
                return Err("name");
            }
            _ => entries.push(Entry { ino, name }),
        }
    }
    Ok(entries)
}

/// Whether the checksum of a block is right. `number` is its place in the directory, `indexed` whether that has an
/// index.
pub(super) fn checksum_is_right(block: &[u8], number: u32, indexed: bool, seed: u32) -> bool {
    let looks_empty = u32_at(block, 0) == 0 && usize::from(u16_at(block, 4)) == block.len();
    let sum = match indexed {
        true if number == 0 => index_checksum(block, ROOT_COUNT, seed),
        true if looks_empty => index_checksum(block, NODE_COUNT, seed),
        _ => entries_checksum(block, seed),
    };
    sum.is_some_and(|(actual, expected)| actual == expected)
}

/// The checksum of a block of entries as it should be, and as it is.
fn entries_checksum(block: &[u8], seed: u32) -> Option<(u32, u32)> {
    let (entries, tail) = block.split_at_checked(block.len().checked_sub(TAIL_BYTES)?)?;
    Some((crc(seed, entries), u32_at(tail, HEADER_BYTES)))
}

/// The same of a block of the index.
fn index_checksum(block: &[u8], count_at: usize, seed: u32) -> Option<(u32, u32)> {
    let limit = usize::from(u16_at(block, count_at));
    let count = usize::from(u16_at(block, count_at + 2));
    let used = block.get(..count_at + count * INDEX_ENTRY_BYTES)?;
    let tail = block
        .get(count_at + limit * INDEX_ENTRY_BYTES..)?
        .get(..8)?;
    let sum = crc(crc(seed, used), &tail[..4]);
    Some((crc(sum, &[0; 4]), u32_at(tail, 4)))
}
