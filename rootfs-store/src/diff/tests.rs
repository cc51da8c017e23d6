use std::fs;
use std::slice;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::chunk::{DEFAULT_CHUNK_BYTES, Encoder, MIN_CHUNK_BYTES};
use crate::digest::BlobDigest;
use crate::index::PackRef;
use crate::pack::PackSet;
use crate::testing::{bomb, bomb_of, snapshot_of};

const CHUNK: usize = DEFAULT_CHUNK_BYTES as usize;

/// A disk of chunks that are filled with one byte each.
fn disk(store: &Store, chunks: &[u8]) -> SnapshotDigest {
    let bytes: Vec<u8> = chunks.iter().flat_map(|byte| [*byte; CHUNK]).collect();
    snapshot_of(store, &bytes)
}

fn naive(a: &[u8], b: &[u8]) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    for at in 0..a.len().max(b.len()) {
        let byte = |chunks: &[u8]| chunks.get(at).copied().unwrap_or(0);
        if byte(a) != byte(b) {
            let range = (at * CHUNK) as u64..((at + 1) * CHUNK) as u64;
            add_range(&mut ranges, range, &mut usize::MAX.clone());
        }
    }
    ranges
}

fn chunks() -> impl Strategy<Value = Vec<u8>> {
    // Some need a tree of two levels, some of one.
    let len = prop_oneof![Just(1usize), Just(255), Just(256), Just(257), Just(300)];
    len.prop_flat_map(|len| {
        let changes = proptest::collection::vec((0..len, 0..4u8), 0..6);
        changes.prop_map(move |changes| {
            let mut chunks = vec![1; len];
            for (at, byte) in changes {
                chunks[at] = byte;
            }
            chunks
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn ranges_are_those_of_a_comparison_chunk_by_chunk(a in chunks(), b in chunks()) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (first, second) = (disk(&store, &a), disk(&store, &b));
        let diff = store.diff(&first, &second).unwrap();
        assert_eq!(diff.ranges, naive(&a, &b));
        assert_eq!((diff.from_bytes, diff.to_bytes), ((a.len() * CHUNK) as u64, (b.len() * CHUNK) as u64));
        let bytes: u64 = diff.ranges.iter().map(|range| range.end - range.start).sum();
        assert_eq!(diff.changed_bytes(), bytes);
        assert!(store.diff(&first, &first).unwrap().ranges.is_empty());
    }
}

#[test]
fn snapshot_that_is_not_whole_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (a, b) = (disk(&store, &[1]), disk(&store, &[2]));
    let pack = store.snapshot(&b).unwrap().packs[0].digest;
    fs::remove_file(store.blobs().path(&pack)).unwrap();
    assert!(matches!(store.diff(&a, &b), Err(DiffError::Store(_))));
}

#[test]
fn indexes_that_name_few_pages_many_times_are_compared_in_no_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let [a, b, holes] = [&[1][..], &[2], &[2, 0]].map(|plain| bomb(&store, plain));
    let begun = Instant::now();
    let whole = store.diff(&a, &b).unwrap();
    assert_eq!(whole.ranges, slice::from_ref(&(0..whole.to_bytes)));
    let refused = store.diff(&b, &holes).unwrap_err();
    assert!(
        matches!(refused, DiffError::TooManyRanges { .. }),
        "{refused}"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

fn add_page(packs: &mut PackSet<'_>, level: u8, entries: Vec<(u8, Locator)>) -> Locator {
    let page = Page { level, entries };
    let bytes = page.to_bytes(packs.current(), |number| packs.digest(number));
    let frame = Encoder::new().unwrap().encode(&bytes).unwrap();
    assert!(frame.len() as u64 >= MIN_PAGE_BYTES, "{}", frame.len());
    packs.add_page(ChunkDigest::of(&bytes), &frame).unwrap()
}

/// A huge disk of few pages: leaves that have the same chunk in another place each, and pages of these that begin with
/// another leaf each, by their slots.
fn turned(store: &Store, first_leaf: impl Fn(u8) -> u8) -> SnapshotDigest {
    bomb_of(store, |packs| {
        let leaves = (0..FANOUT).map(|n| {
            let chunk = Locator {
                pack: PackRef::Complete(BlobDigest::of(b"elsewhere")),
                offset: n,
                len: 5,
                digest: ChunkDigest::of(b"chunk"),
            };
            add_page(packs, 0, vec![(0, chunk)])
        });
        let leaves: Vec<_> = leaves.collect();
        let mut pages = HashMap::new();
        let entries = (0..=u8::MAX).map(|slot| {
            let first = first_leaf(slot);
            let leaf = |slot: u8| leaves[usize::from(slot.wrapping_add(first))];
            let of = || (0..=u8::MAX).map(|slot| (slot, leaf(slot))).collect();
            let page = pages
                .entry(first)
                .or_insert_with(|| add_page(packs, 1, of()));
            (slot, *page)
        });
        (2, entries.collect())
    })
}

#[test]
fn indexes_that_pair_few_pages_in_many_ways_are_refused_in_no_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let a = turned(&store, |slot| slot % 16);
    let b = turned(&store, |slot| slot / 16 * 16);
    let begun = Instant::now();
    let refused = store.diff(&a, &b).unwrap_err();
    assert!(matches!(refused, DiffError::TooManyPairs), "{refused}");
    assert!(begun.elapsed() < Duration::from_secs(20));
    // One that names them as honest ones do can be compared with any.
    let honest = turned(&store, |_| 0);
    assert!(store.diff(&honest, &a).unwrap().ranges.is_empty());
}

#[test]
fn huge_disks_cost_no_more_than_their_pages() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let with_one_chunk = |slot: u8, last: u8| {
        bomb_of(&store, |packs| {
            let plain = [7; MIN_CHUNK_BYTES as usize];
            let frame = Encoder::new().unwrap().encode(&plain).unwrap();
            let mut at = packs.add_chunk(ChunkDigest::of(&plain), &frame).unwrap();
            for level in 0..3 {
                at = add_page(packs, level, vec![(slot, at)]);
            }
            (3, vec![(last, at)])
        })
    };
    let (first, last) = (with_one_chunk(0, 0), with_one_chunk(255, 63));
    let begun = Instant::now();
    let diff = store.diff(&first, &last).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2));
    let (chunk, end) = (u64::from(MIN_CHUNK_BYTES), diff.to_bytes);
    assert_eq!(diff.ranges, [0..chunk, end - chunk..end]);
}
