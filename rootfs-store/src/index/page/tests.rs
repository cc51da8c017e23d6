use proptest::prelude::*;

use super::*;

const OWN: BlobDigest = BlobDigest::from_bytes([9; 32]);

fn locator(n: u8, pack: PackRef) -> Locator {
    Locator {
        digest: ChunkDigest::of(&[n]),
        pack,
        offset: u64::from(n) << 30,
        len: 100 + u32::from(n),
    }
}

fn page() -> Page {
    let other = PackRef::Complete(BlobDigest::from_bytes([3; 32]));
    let entries = vec![
        (0, locator(1, PackRef::Complete(OWN))),
        (7, locator(2, other)),
        (
            255,
            locator(3, PackRef::Complete(BlobDigest::from_bytes([2; 32]))),
        ),
    ];
    Page { level: 0, entries }
}

fn bytes_of(page: &Page) -> Vec<u8> {
    page.to_bytes(PackRef::Complete(OWN), |_| None)
}

#[test]
fn pages_read_as_they_were_written() {
    assert_eq!(Page::parse(&bytes_of(&page()), OWN), Ok(page()));
}

#[test]
fn entries_of_the_pack_under_way_become_those_of_the_pages_own() {
    let new = Page {
        level: 0,
        entries: vec![
            (4, locator(1, PackRef::New(1))),
            (5, locator(2, PackRef::New(0))),
        ],
    };
    let first = BlobDigest::from_bytes([1; 32]);
    let bytes = new.to_bytes(PackRef::New(1), |number| (number == 0).then_some(first));
    let read = Page::parse(&bytes, OWN).unwrap();
    assert_eq!(read.entries[0].1.pack, PackRef::Complete(OWN));
    assert_eq!(read.entries[1].1.pack, PackRef::Complete(first));
}

#[test]
fn format_has_not_changed() {
    let bytes = bytes_of(&page());
    assert_eq!(bytes.len(), 16 + 2 * 32 + 3 * 48 + 4);
    let golden = include_bytes!("../../../golden/index-page-v1.bin");
    assert_eq!(&bytes, golden, "pages of version 1 can't be read any more");
}

#[test]
fn any_changed_bit_is_noticed() {
    let bytes = bytes_of(&page());
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Page::parse(&bad, OWN).is_err(), "bit {bit}");
    }
}

/// With a checksum that is right again.
fn with_change(at: usize, value: u8) -> Vec<u8> {
    let mut bytes = bytes_of(&page());
    bytes[at] = value;
    let body = bytes.len() - CRC_BYTES;
    let crc = crc32c::crc32c(&bytes[..body]);
    bytes[body..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn pages_that_no_writer_makes_are_refused() {
    let entries = HEADER_BYTES + 2 * DIGEST_BYTES;
    for (at, value, part) in [
        (6, 200, "header fields"),
        (7, 1, "header fields"),
        (12, 1, "header fields"),
        (HEADER_BYTES, 255, "packs"),
        (entries + ENTRY_BYTES, 0, "entries"),
        (entries + ENTRY_BYTES + 1, 1, "entries"),
        (entries + ENTRY_BYTES + 2, 3, "entries"),
        (entries + ENTRY_BYTES + 2, 1, "counts"),
        (entries + 7, 1, "entries"),
    ] {
        let result = Page::parse(&with_change(at, value), OWN);
        assert_eq!(result, Err(PageError::Rules { part }), "{at} = {value}");
    }
    assert_eq!(
        Page::parse(&with_change(4, 2), OWN),
        Err(PageError::Version { found: 2 })
    );
}

proptest! {
    #[test]
    fn any_page_round_trips(
        level in 0..MAX_LEVELS,
        slots in proptest::collection::btree_map(any::<u8>(), (any::<[u8; 32]>(), any::<u64>(), 0..MAX_FRAME_BYTES, 0u8..9), 1..256),
    ) {
        let entries = slots
            .into_iter()
            .map(|(slot, (digest, offset, len, pack))| {
                let pack = PackRef::Complete(BlobDigest::from_bytes([pack + 1; 32]));
                (slot, Locator { digest: ChunkDigest::from_bytes(digest), pack, offset, len })
            })
            .collect();
        let page = Page { level, entries };
        let bytes = bytes_of(&page);
        prop_assert!(bytes.len() <= MAX_PAGE_BYTES);
        prop_assert_eq!(Page::parse(&bytes, OWN), Ok(page));
    }
}
