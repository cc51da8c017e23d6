//! Directories: one block of entries in the order of their names, or an index with the entries in blocks by hash.

use super::checksum::{crc, inode_seed};
use super::format::{BLOCK_BYTES, put_u16, put_u32};

/// Bytes of a block of entries without the entry that holds its checksum.
pub(super) const ENTRIES_BYTES: usize = BLOCK_BYTES - TAIL_BYTES;
const TAIL_BYTES: usize = 12;
/// Type of the entry that holds the checksum.
const TAIL_TYPE: u8 = 0xde;
/// Bytes of an entry before its name.
const HEADER_BYTES: usize = 8;

/// Types of files in directory entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryType {
    File = 1,
    Directory = 2,
    CharDevice = 3,
    BlockDevice = 4,
    Fifo = 5,
    Symlink = 7,
}

/// An entry of a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    /// At most 255 bytes.
    pub(super) name: &'a [u8],
    pub(super) ino: u32,
    pub(super) kind: EntryType,
}

impl Entry<'_> {
    pub(super) fn directory(name: &[u8], ino: u32) -> Entry<'_> {
        Entry {
            name,
            ino,
            kind: EntryType::Directory,
        }
    }

    /// Bytes that the entry takes.
    pub(super) fn len(&self) -> usize {
        (HEADER_BYTES + self.name.len()).next_multiple_of(4)
    }
}

/// Bytes that `.` and `..` take.
pub(super) const DOTS_BYTES: usize = 2 * 12;

/// Fills `block` with the entries of a directory that fit into one.
pub(super) fn render_single<'a>(
    ino: u32,
    parent: u32,
    entries: impl Iterator<Item = Entry<'a>>,
    block: &mut [u8],
) {
    let mut filler = Filler::new(block);
    filler.push(&Entry::directory(b".", ino));
    filler.push(&Entry::directory(b"..", parent));
    for entry in entries {
        filler.push(&entry);
    }
    filler.finish(ino);
}

/// Fills a block with entries.
#[derive(Debug)]
pub(super) struct Filler<'a> {
    block: &'a mut [u8],
    last: usize,
    end: usize,
}

impl<'a> Filler<'a> {
    /// Starts with a block of zeros.
    pub(super) fn new(block: &'a mut [u8]) -> Self {
        Self {
            block,
            last: 0,
            end: 0,
        }
    }

    pub(super) fn push(&mut self, entry: &Entry<'_>) {
        let (at, len) = (self.end, entry.len());
        put_entry(self.block, at, entry, len);
        (self.last, self.end) = (at, at + len);
    }

    /// Stretches the last entry over the rest of the block and adds the checksum.
    pub(super) fn finish(self, ino: u32) {
        put_len(self.block, self.last, ENTRIES_BYTES - self.last);
        put_len(self.block, ENTRIES_BYTES, TAIL_BYTES);
        self.block[ENTRIES_BYTES + 7] = TAIL_TYPE;
        let sum = crc(inode_seed(ino), &self.block[..ENTRIES_BYTES]);
        put_u32(self.block, ENTRIES_BYTES + HEADER_BYTES, sum);
    }
}

/// Puts an entry at `at`, with room up to the next one in `len` bytes.
pub(super) fn put_entry(block: &mut [u8], at: usize, entry: &Entry<'_>, len: usize) {
    put_u32(block, at, entry.ino);
    put_len(block, at, len);
    block[at + 6] = u8::try_from(entry.name.len()).unwrap_or(u8::MAX);
    block[at + 7] = entry.kind as u8;
    let name = at + HEADER_BYTES;
    block[name..name + entry.name.len()].copy_from_slice(entry.name);
}

/// Puts the distance from an entry at `at` to the next one.
pub(super) fn put_len(block: &mut [u8], at: usize, len: usize) {
    // At most a block, which fits.
    put_u16(block, at + 4, u16::try_from(len).unwrap_or(0));
}
