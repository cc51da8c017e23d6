//! Follows a snapshot's index to every chunk.
//!
//! Invariant: each entry is compared with its pack's table, whose frames were all hashed; so hardly any chunk is read
//! twice.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use super::contents::Content;
use super::fault::Problem;
use super::tables::Tables;
use crate::chunk_source::ChunkSource;
use crate::digest::BlobDigest;
use crate::index::{FANOUT, Locator, PackRef, levels, slot_chunks};
use crate::manifest::Snapshot;
use crate::store::StoreError;

/// What following one index found.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// Bytes of the disk that can't be read because frames of this pack are damaged, or the pack is missing.
    pub(super) lost: BTreeMap<BlobDigest, Vec<Range<u64>>>,
    /// What is wrong with the index itself, by pack: the first problem, and the bytes of the disk.
    pub(super) wrong: BTreeMap<BlobDigest, (Problem, Vec<Range<u64>>)>,
    /// More bytes may be lost than are listed.
    pub(super) more_ranges: bool,
    /// More packs may be named wrongly than are listed.
    pub(super) more_wrong: bool,
}

/// Most ranges that are listed of a snapshot: 1 MiB.
const MAX_RANGES: usize = 65_536;
/// Most packs that are listed as named wrongly by one index.
const MAX_WRONG: usize = 1000;
/// Entries of pages with something wrong below that are looked at again where such pages are named once more.
const MAX_AGAIN: u64 = 1 << 20;

/// Frames of packs without tables whose length is remembered.
const MAX_LENGTHS: usize = 65_536;

/// Follows the index of `snapshot`, whose packs' contents are known, or are elsewhere and read as far as they are here.
///
/// # Errors
/// [`StoreError::TooManyFiles`]: that says nothing of a pack.
pub(super) fn follow(
    source: &ChunkSource,
    snapshot: &Snapshot,
    packs: &HashMap<BlobDigest, &Content>,
    remotes: &HashSet<BlobDigest>,
) -> Result<Followed, StoreError> {
    let mut walk = Walk {
        source,
        snapshot,
        listed: snapshot.packs.iter().map(|pack| pack.digest).collect(),
        chunks: snapshot.index().chunks,
        packs,
        remotes,
        tables: Tables::new(source),
        lengths: HashMap::new(),
        starved: None,
        sound: HashMap::new(),
        faulty: HashSet::new(),
        entries_left: MAX_AGAIN,
        ranges_left: MAX_RANGES,
        followed: Followed::default(),
    };
    if let Some(root) = snapshot.index().root {
        walk.page(&root, levels(walk.chunks) - 1, 0);
    }
    walk.starved.map_or(Ok(walk.followed), Err)
}

struct Walk<'a> {
    source: &'a ChunkSource,
    snapshot: &'a Snapshot,
    listed: HashSet<BlobDigest>,
    chunks: u64,
    packs: &'a HashMap<BlobDigest, &'a Content>,
    /// Packs that are elsewhere.
    remotes: &'a HashSet<BlobDigest>,
    tables: Tables<'a>,
    /// Plain lengths of frames that tables don't tell of; nothing for damaged ones.
    lengths: HashMap<Locator, Option<u64>>,
    /// Too many files were open, which ends it all.
    starved: Option<StoreError>,
    /// Pages with nothing wrong below, by place and level, and how many chunks they reach over: an index that names few
    /// pages many times takes no longer than one that does not.
    sound: HashMap<(Locator, u8), u64>,
    /// Pages with something wrong below, which are followed again to list what that costs, but not without end.
    faulty: HashSet<(Locator, u8)>,
    entries_left: u64,
    ranges_left: usize,
    followed: Followed,
}

/// What is known of the frame that a locator names.
enum Frame {
    /// It is whole, and has this many plain bytes.
    Whole(u64),
    /// It is damaged or missing, which is a fault of the pack.
    Lost,
    /// It was not fetched yet.
    Elsewhere,
    Wrong(Problem),
}

impl Walk<'_> {
    /// Follows a page; returns how many chunks it reaches over, if nothing is wrong there.
    fn page(&mut self, at: &Locator, level: u8, first: u64) -> Option<u64> {
        let key = (*at, level);
        if self.starved.is_some() {
            return None;
        }
        if let Some(reach) = self.sound.get(&key)
            && first + reach <= self.chunks
        {
            return Some(*reach);
        }
        if self.faulty.contains(&key) {
            let Some(left) = self.entries_left.checked_sub(FANOUT) else {
                self.followed.more_ranges = true;
                return None;
            };
            self.entries_left = left;
        }
        let range = self.bytes(first, slot_chunks(level + 1));
        match self.frame(at) {
            Frame::Whole(_) => {}
            Frame::Lost => return self.lose(at, range),
            // What hangs on it is not known, nor wrong.
            Frame::Elsewhere => return Some(1),
            Frame::Wrong(problem) => return self.blame(at, problem, range),
        }
        let page = match self.source.page(at, level) {
            Ok(page) => page,
            Err(error) if StoreError::is_of_too_many_files(&error) => {
                self.starved = Some(error);
                return None;
            }
            Err(source) => {
                self.faulty.insert(key);
                return self.blame(at, Problem::Index { source }, range);
            }
        };
        let mut reach = Some(0);
        for (slot, entry) in &page.entries {
            let before = u64::from(*slot) * slot_chunks(level);
            let number = first + before;
            if number >= self.chunks {
                let source = StoreError::IndexTooLarge {
                    chunk: number,
                    chunks: self.chunks,
                };
                return self.blame(at, Problem::Index { source }, 0..0);
            }
            let below = match level {
                0 => self.chunk(entry, number),
                _ => self.page(entry, level - 1, number),
            };
            // Entries ascend, so the last one reaches farthest.
            reach = reach.and(below).map(|below| before + below);
        }
        match reach {
            Some(reach) => drop(self.sound.insert(key, reach)),
            None => drop(self.faulty.insert(key)),
        }
        reach
    }

    fn chunk(&mut self, at: &Locator, number: u64) -> Option<u64> {
        let chunk_bytes = self.snapshot.chunk_bytes;
        let range = self.bytes(number, 1);
        match self.frame(at) {
            Frame::Whole(len) if len == u64::from(chunk_bytes) => Some(1),
            Frame::Elsewhere => Some(1),
            Frame::Whole(len) => {
                let source = StoreError::ChunkLength {
                    digest: at.digest,
                    len: usize::try_from(len).unwrap_or(usize::MAX),
                    chunk_bytes: chunk_bytes as usize,
                };
                self.blame(at, Problem::Index { source }, range)
            }
            Frame::Lost => self.lose(at, range),
            Frame::Wrong(problem) => self.blame(at, problem, range),
        }
    }

    fn frame(&mut self, at: &Locator) -> Frame {
        let pack = pack_of(at);
        if !self.listed.contains(&pack) {
            return Frame::Wrong(Problem::NotListed);
        }
        if self.remotes.contains(&pack) {
            return self.cached_frame(at);
        }
        let Some(content) = self.packs.get(&pack) else {
            return Frame::Lost;
        };
        if !content.has_table {
            return self.read_frame(at);
        }
        let found = match self.tables.find(&pack, at.offset, at.len) {
            Ok(found) => found.filter(|(_, entry)| entry.digest == at.digest),
            Err(error) => return self.unreadable(error),
        };
        match found.map(|(number, _)| content.plain.get(number)) {
            Some(Some(Some(len))) => Frame::Whole(u64::from(len)),
            Some(Some(None)) => Frame::Lost,
            Some(None) => self.read_frame(at),
            None => Frame::Wrong(Problem::NoSuchFrame { offset: at.offset }),
        }
    }

    /// A frame of a pack that is elsewhere.
    fn cached_frame(&mut self, at: &Locator) -> Frame {
        match self.source.cached_len(at) {
            Ok(len) => len.map_or(Frame::Elsewhere, Frame::Whole),
            // Its record can't be read any more.
            Err(error) => self.unreadable(error),
        }
    }

    /// A pack whose table is damaged may still have the frame.
    fn read_frame(&mut self, at: &Locator) -> Frame {
        let known = self.lengths.get(at).copied();
        let len = match known.map_or_else(|| self.source.plain_len(at).map(Some), Ok) {
            Ok(len) => len,
            Err(error) if StoreError::is_of_too_many_files(&error) => {
                return self.unreadable(error);
            }
            Err(_) => None,
        };
        if self.lengths.len() == MAX_LENGTHS {
            self.lengths.clear();
        }
        self.lengths.insert(*at, len);
        len.map_or(Frame::Lost, Frame::Whole)
    }

    /// Something was whole when it was read before, but is not there now, or there is no file left to open it with.
    fn unreadable(&mut self, error: StoreError) -> Frame {
        if StoreError::is_of_too_many_files(&error) {
            self.starved = Some(error);
        }
        Frame::Lost
    }

    /// Bytes of the disk from chunk `first` on.
    fn bytes(&self, first: u64, chunks: u64) -> Range<u64> {
        let chunk_bytes = u64::from(self.snapshot.chunk_bytes);
        let end = first.saturating_add(chunks).min(self.chunks);
        first * chunk_bytes..end * chunk_bytes
    }

    fn lose(&mut self, at: &Locator, range: Range<u64>) -> Option<u64> {
        let ranges = self.followed.lost.entry(pack_of(at)).or_default();
        let added = add_range(ranges, range, &mut self.ranges_left);
        self.followed.more_ranges |= !added;
        None
    }

    fn blame(&mut self, at: &Locator, problem: Problem, range: Range<u64>) -> Option<u64> {
        let (pack, wrong) = (pack_of(at), &mut self.followed.wrong);
        if wrong.len() == MAX_WRONG && !wrong.contains_key(&pack) {
            self.followed.more_wrong = true;
            return None;
        }
        let first = (problem, Vec::new());
        let (_, ranges) = wrong.entry(pack).or_insert(first);
        let added = add_range(ranges, range, &mut self.ranges_left);
        self.followed.more_ranges |= !added;
        None
    }
}

/// Appends a range, to the last one if they touch, or else if any are left; whether it did.
pub(crate) fn add_range(ranges: &mut Vec<Range<u64>>, range: Range<u64>, left: &mut usize) -> bool {
    match ranges.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if last.end == range.start => last.end = range.end,
        _ if *left == 0 => return false,
        _ => {
            *left -= 1;
            ranges.push(range);
        }
    }
    true
}

/// Pages that are read name complete packs only.
fn pack_of(at: &Locator) -> BlobDigest {
    match at.pack {
        PackRef::Complete(digest) => digest,
        PackRef::New(_) => BlobDigest::from_bytes([0; 32]),
    }
}
