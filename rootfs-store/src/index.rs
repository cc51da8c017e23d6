//! The index of a snapshot: a tree of content-addressed pages that says where each chunk is.
//!
//! Level 0 pages name chunks, pages of higher levels name pages; each has [`FANOUT`] slots. A slot that is absent
//! stands for chunks that are all zero. Chunk `n` hangs on slot `n / FANOUT^level % FANOUT` of the page on its way.
//!
//! Invariant: a tree has the height that its disk's number of chunks needs, and an entry leads at least one level down,
//! so walks end.

mod page;
mod reader;
mod update;

pub(crate) use page::MAX_PAGE_BYTES;
pub use page::{Page, PageError};
pub(crate) use reader::{Index, Root};
pub(crate) use update::{Change, raise, update};

use crate::digest::{BlobDigest, ChunkDigest};

/// Slots of a page: one changed chunk rewrites at most 12 KiB of index on each level.
pub(crate) const FANOUT: u64 = 256;
/// Most levels of a tree: enough for 2^64 bytes in the smallest chunks.
pub(crate) const MAX_LEVELS: u8 = 7;

/// Where the frame of a chunk or page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Locator {
    /// Digest of the plain bytes.
    pub digest: ChunkDigest,
    /// The pack that holds the frame.
    pub pack: PackRef,
    /// Where the frame starts in the pack.
    pub offset: u64,
    /// Length of the frame in bytes.
    pub len: u32,
}

/// A pack, by its digest where that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PackRef {
    /// A pack that is complete.
    Complete(BlobDigest),
    /// The pack of this number among those that are being written.
    New(usize),
}

/// Levels of the tree of a disk of `chunks` chunks.
pub(crate) fn levels(chunks: u64) -> u8 {
    let mut levels = 1;
    let mut reach = FANOUT;
    while reach < chunks {
        levels += 1;
        reach = reach.saturating_mul(FANOUT);
    }
    levels
}

/// Chunks that one slot of a page of `level` stands for.
pub(crate) fn slot_chunks(level: u8) -> u64 {
    FANOUT.saturating_pow(u32::from(level))
}
