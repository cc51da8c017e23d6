use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::index::{PackRef, Root};
use crate::pack::PACK_BYTES;
use crate::testing::{lease, source_in};

fn source(dir: &tempfile::TempDir) -> ChunkSource {
    source_in(dir.path())
}

/// Writes each chunk of `changes` with its number and a seed as its content, or takes it away.
fn apply(source: &ChunkSource, index: Index, changes: &BTreeMap<u64, Option<u8>>) -> Index {
    let mut packs = PackSet::new(&source.blobs, PACK_BYTES);
    let mut encoder = Encoder::new().unwrap();
    let changes: Vec<_> = changes
        .iter()
        .map(|(chunk, seed)| Change {
            chunk: *chunk,
            to: seed.map(|seed| {
                let plain = content(*chunk, seed);
                let frame = encoder.encode(&plain).unwrap();
                packs.add_chunk(ChunkDigest::of(&plain), &frame).unwrap()
            }),
        })
        .collect();
    let root = update(&index, &changes, source, &mut packs, &mut encoder).unwrap();
    let packs = packs.finish(&lease(source.blobs.staging())).unwrap();
    let root = root.map(|at| match at.pack {
        PackRef::Complete(_) => at,
        PackRef::New(number) => Locator {
            pack: PackRef::Complete(packs[number].digest),
            ..at
        },
    });
    Index { root, ..index }
}

fn content(chunk: u64, seed: u8) -> Vec<u8> {
    [chunk.to_le_bytes().as_slice(), &[seed]].concat()
}

fn contents(source: &ChunkSource, index: &Index) -> BTreeMap<u64, Vec<u8>> {
    let chunks = index.iter(source).map(Result::unwrap);
    chunks
        .map(|(chunk, at)| (chunk, source.read_chunk(&at, 9).unwrap()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn index_holds_what_a_map_would(
        chunks in prop_oneof![Just(1u64), Just(256), Just(257), Just(70_000)],
        rounds in proptest::collection::vec(
            proptest::collection::btree_map(0u64..70_000, proptest::option::of(any::<u8>()), 0..40), 1..5),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let source = source(&dir);
        let mut index = Index { root: None, chunks };
        let mut model: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for round in rounds {
            let changes: BTreeMap<_, _> = round.into_iter().map(|(chunk, seed)| (chunk % chunks, seed)).collect();
            index = apply(&source, index, &changes);
            for (chunk, seed) in changes {
                match seed {
                    Some(seed) => model.insert(chunk, content(chunk, seed)),
                    None => model.remove(&chunk),
                };
            }
            prop_assert_eq!(&contents(&source, &index), &model);
            prop_assert_eq!(index.root.is_none(), model.is_empty());
            for chunk in model.keys() {
                let at = index.get(&source, *chunk).unwrap().unwrap();
                prop_assert_eq!(&source.read_chunk(&at, 9).unwrap(), &model[chunk]);
            }
        }
    }
}

#[test]
fn change_that_is_none_writes_no_page() {
    let dir = tempfile::tempdir().unwrap();
    let source = source(&dir);
    let index = apply(
        &source,
        Index {
            root: None,
            chunks: 1000,
        },
        &BTreeMap::from([(7, Some(1))]),
    );
    let at = index.get(&source, 7).unwrap();
    let mut packs = PackSet::new(&source.blobs, PACK_BYTES);
    let changes = [Change { chunk: 7, to: at }, Change { chunk: 8, to: None }];
    let root = update(
        &index,
        &changes,
        &source,
        &mut packs,
        &mut Encoder::new().unwrap(),
    )
    .unwrap();
    assert_eq!(root, index.root);
    assert!(packs.finish(&lease(dir.path())).unwrap().is_empty());
}

#[test]
fn pages_of_a_larger_disk_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let source = source(&dir);
    let index = apply(
        &source,
        Index {
            root: None,
            chunks: 200,
        },
        &BTreeMap::from([(150, Some(1))]),
    );
    let smaller = Index {
        chunks: 100,
        ..index
    };
    let result = smaller.iter(&source).collect::<Result<Vec<_>, _>>();
    assert!(matches!(
        result,
        Err(StoreError::IndexTooLarge {
            chunk: 150,
            chunks: 100
        })
    ));
    let higher = Index {
        chunks: 1000,
        ..index
    };
    assert!(matches!(
        higher.get(&source, 150),
        Err(StoreError::Page { .. })
    ));
}

#[test]
fn root_keeps_its_place_in_a_config() {
    let root = Root {
        digest: ChunkDigest::of(b"page"),
        pack: crate::digest::BlobDigest::of(b"pack"),
        offset: 1 << 40,
        length: 77,
    };
    let json = serde_json::to_string(&root).unwrap();
    assert_eq!(serde_json::from_str::<Root>(&json).unwrap(), root);
}
