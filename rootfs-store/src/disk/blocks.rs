//! Which blocks the overlay holds, in memory.
//!
//! Invariant: a bit is set only after the block's bytes were written to the overlay.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use super::map::SECTOR_BLOCKS;

const WORD_BITS: u64 = 32;
/// Words that go into one sector of the map.
const SECTOR_WORDS: usize = (SECTOR_BLOCKS / WORD_BITS) as usize;
const SECTOR_BITS_BYTES: usize = SECTOR_WORDS * 4;

/// One bit a block.
#[derive(Debug)]
pub(super) struct Blocks {
    words: Box<[AtomicU32]>,
    blocks: u64,
}

impl Blocks {
    /// All blocks of a disk of `blocks` are in the base.
    pub(super) fn new(blocks: u64) -> Self {
        let sectors = usize::try_from(blocks.div_ceil(SECTOR_BLOCKS)).unwrap_or(usize::MAX);
        let words = (0..sectors * SECTOR_WORDS)
            .map(|_| AtomicU32::new(0))
            .collect();
        Self { words, blocks }
    }

    /// Number of sectors that hold the bits.
    pub(super) fn sectors(&self) -> u64 {
        (self.words.len() / SECTOR_WORDS) as u64
    }

    /// Whether the overlay holds `block`.
    pub(super) fn get(&self, block: u64) -> bool {
        self.word(block).load(Ordering::Acquire) & bit(block) != 0
    }

    /// The end of the run of blocks from `start` on, up to `end`, that are all in the overlay or all in the base.
    pub(super) fn run_end(&self, start: u64, end: u64) -> u64 {
        let first = self.get(start);
        (start + 1..end)
            .find(|block| self.get(*block) != first)
            .unwrap_or(end)
    }

    /// Notes that the overlay holds `blocks` from now on; adds the sectors that changed to `dirty`.
    pub(super) fn set(&self, blocks: Range<u64>, dirty: &mut BTreeSet<u64>) {
        for block in blocks {
            let before = self.word(block).fetch_or(bit(block), Ordering::AcqRel);
            if before & bit(block) == 0 {
                dirty.insert(block / SECTOR_BLOCKS);
            }
        }
    }

    /// The bits of one sector of the map.
    pub(super) fn sector(&self, number: u64) -> [u8; SECTOR_BITS_BYTES] {
        let mut bytes = [0; SECTOR_BITS_BYTES];
        for (bytes, word) in bytes.chunks_exact_mut(4).zip(self.sector_words(number)) {
            bytes.copy_from_slice(&word.load(Ordering::Acquire).to_le_bytes());
        }
        bytes
    }

    /// Takes the bits of one sector from the map; those past the end of the disk are dropped.
    pub(super) fn load_sector(&self, number: u64, bytes: &[u8; SECTOR_BITS_BYTES]) {
        for (word, bytes) in self.sector_words(number).iter().zip(bytes.as_chunks().0) {
            word.store(u32::from_le_bytes(*bytes), Ordering::Release);
        }
    }

    /// Numbers of all groups of `group` blocks of which the overlay holds some, ascending.
    pub(super) fn groups(&self, group: u64) -> Vec<u64> {
        let mut groups: Vec<u64> = Vec::new();
        for (index, word) in self.words.iter().enumerate() {
            let mut bits = word.load(Ordering::Acquire);
            while bits != 0 {
                let block = index as u64 * WORD_BITS + u64::from(bits.trailing_zeros());
                bits &= bits - 1;
                if block < self.blocks && groups.last() != Some(&(block / group)) {
                    groups.push(block / group);
                }
            }
        }
        groups
    }

    fn sector_words(&self, number: u64) -> &[AtomicU32] {
        let first = usize::try_from(number).unwrap_or(usize::MAX) * SECTOR_WORDS;
        &self.words[first..first + SECTOR_WORDS]
    }

    fn word(&self, block: u64) -> &AtomicU32 {
        &self.words[usize::try_from(block / WORD_BITS).unwrap_or(usize::MAX)]
    }
}

fn bit(block: u64) -> u32 {
    1 << (block % WORD_BITS)
}
