//! Which blocks the overlay holds, in memory.
//!
//! Invariant: a bit is set only after the block's bytes were written to the overlay.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::map::{BITS_BYTES, SECTOR_BLOCKS};

const WORD_BITS: u64 = 32;
const SECTOR_WORDS: usize = BITS_BYTES / 4;

/// The bits of one sector of the map.
type Sector = [AtomicU32; SECTOR_WORDS];

/// One bit a block; sectors without any bit take no memory, so an empty disk of any size is small.
#[derive(Debug)]
pub(super) struct Blocks {
    sectors: Box<[OnceLock<Box<Sector>>]>,
    blocks: u64,
}

impl Blocks {
    /// All blocks of a disk of `blocks` are in the base.
    pub(super) fn new(blocks: u64) -> Self {
        let sectors = (0..blocks.div_ceil(SECTOR_BLOCKS)).map(|_| OnceLock::new());
        Self {
            sectors: sectors.collect(),
            blocks,
        }
    }

    /// Number of sectors that hold the bits.
    pub(super) fn sectors(&self) -> u64 {
        self.sectors.len() as u64
    }

    /// Whether the overlay holds no block.
    pub(super) fn is_empty(&self) -> bool {
        self.held().next().is_none()
    }

    /// Whether the overlay holds `block`.
    pub(super) fn get(&self, block: u64) -> bool {
        let (sector, word, bit) = place(block);
        let sector = self.sectors[sector].get();
        sector.is_some_and(|words| words[word].load(Ordering::Acquire) & bit != 0)
    }

    /// Whether the overlay holds the first of `blocks`, and the end of the run of those for which that is the same.
    pub(super) fn run(&self, blocks: Range<u64>) -> (bool, u64) {
        let first = self.get(blocks.start);
        let mut rest = blocks.start + 1..blocks.end;
        (
            first,
            rest.find(|block| self.get(*block) != first)
                .unwrap_or(blocks.end),
        )
    }

    /// Notes that the overlay holds `blocks` from now on; adds the sectors that changed to `dirty`.
    pub(super) fn set(&self, blocks: Range<u64>, dirty: &mut BTreeSet<u64>) {
        for block in blocks {
            let (sector, word, bit) = place(block);
            let before = self.sector(sector)[word].fetch_or(bit, Ordering::AcqRel);
            if before & bit == 0 {
                dirty.insert(block / SECTOR_BLOCKS);
            }
        }
    }

    /// The bits of one sector of the map.
    pub(super) fn save_sector(&self, number: u64) -> [u8; BITS_BYTES] {
        let mut bytes = [0; BITS_BYTES];
        if let Some(words) = self.sectors[index(number)].get() {
            for (bytes, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words.iter()) {
                *bytes = word.load(Ordering::Acquire).to_le_bytes();
            }
        }
        bytes
    }

    /// Takes the bits of one sector from the map.
    pub(super) fn load_sector(&self, number: u64, bytes: &[u8; BITS_BYTES]) {
        if *bytes == [0; BITS_BYTES] {
            return;
        }
        let words = self.sector(index(number));
        for (word, bytes) in words.iter().zip(bytes.as_chunks().0) {
            word.store(u32::from_le_bytes(*bytes), Ordering::Release);
        }
    }

    /// Numbers of all groups of `group` blocks of which the overlay holds some, ascending.
    pub(super) fn groups(&self, group: u64) -> Vec<u64> {
        let mut groups: Vec<u64> = Vec::new();
        for block in self.held().take_while(|block| *block < self.blocks) {
            if groups.last() != Some(&(block / group)) {
                groups.push(block / group);
            }
        }
        groups
    }

    fn held(&self) -> impl Iterator<Item = u64> {
        let used = (0..)
            .zip(&self.sectors)
            .filter_map(|(number, sector)| Some((number, sector.get()?)));
        used.flat_map(|(number, words): (u64, _)| {
            (0..)
                .zip(words.iter())
                .flat_map(move |(word, bits): (u64, _)| {
                    let bits = bits.load(Ordering::Acquire);
                    let set = (0..WORD_BITS).filter(move |bit| bits >> bit & 1 != 0);
                    set.map(move |bit| number * SECTOR_BLOCKS + word * WORD_BITS + bit)
                })
        })
    }

    fn sector(&self, index: usize) -> &Sector {
        self.sectors[index].get_or_init(|| Box::new([const { AtomicU32::new(0) }; SECTOR_WORDS]))
    }
}

/// Sector, word in it, and bit in that.
fn place(block: u64) -> (usize, usize, u32) {
    let in_sector = block % SECTOR_BLOCKS;
    (
        index(block / SECTOR_BLOCKS),
        index(in_sector / WORD_BITS),
        1 << (in_sector % WORD_BITS),
    )
}

/// As an index; what can't be one is past every end.
fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
