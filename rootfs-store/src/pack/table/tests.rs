use super::*;

fn table() -> Table {
    let entry = |n: u8, offset, len| TableEntry {
        digest: ChunkDigest::of(&[n]),
        offset,
        len,
    };
    Table {
        entries: vec![entry(1, 0, 100), entry(2, 100, 1), entry(3, 101, 4000)],
    }
}

fn pack_bytes(tail: &[u8]) -> u64 {
    4101 + tail.len() as u64
}

#[test]
fn tables_read_as_they_were_written() {
    let tail = table().to_tail();
    assert_eq!(Table::parse(&tail, pack_bytes(&tail)), Ok(table()));
    let empty = Table::default().to_tail();
    assert_eq!(
        Table::parse(&empty, empty.len() as u64),
        Ok(Table::default())
    );
}

#[test]
fn format_has_not_changed() {
    let tail = table().to_tail();
    assert_eq!(tail.len(), 8 + 3 * 44 + 24);
    let golden = include_bytes!("../../../golden/pack-table-v1.bin");
    assert_eq!(&tail, golden, "packs of version 1 can't be read any more");
}

#[test]
fn any_changed_bit_is_noticed() {
    let tail = table().to_tail();
    for bit in 0..tail.len() * 8 {
        let mut bad = tail.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Table::parse(&bad, pack_bytes(&tail)).is_err(), "bit {bit}");
    }
}

#[test]
fn gaps_and_overlaps_are_refused() {
    for (number, offset) in [(0, 1), (1, 99), (1, 101)] {
        let mut bad = table();
        bad.entries[number].offset = offset;
        let tail = bad.to_tail();
        assert_eq!(
            Table::parse(&tail, pack_bytes(&tail)),
            Err(PackError::Gap { entry: number })
        );
    }
    let tail = table().to_tail();
    assert_eq!(
        Table::parse(&tail, pack_bytes(&tail) + 1),
        Err(PackError::Gap { entry: 3 })
    );
}

#[test]
fn claim_of_more_entries_than_fit_is_refused_before_memory_is_taken() {
    let mut tail = Table::default().to_tail();
    let footer = tail.len() - FOOTER_BYTES;
    tail[footer..footer + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let crc = crc32c::crc32c(&tail[footer..footer + 12]);
    tail[footer + 12..footer + 16].copy_from_slice(&crc.to_le_bytes());
    let result = Table::parse(&tail, tail.len() as u64);
    assert!(matches!(
        result,
        Err(PackError::Entries {
            entries: u32::MAX,
            ..
        })
    ));
}

#[test]
fn newer_version_is_named() {
    let mut tail = table().to_tail();
    let version = tail.len() - FOOTER_BYTES + 8;
    tail[version] = 2;
    assert_eq!(
        Table::parse(&tail, pack_bytes(&tail)),
        Err(PackError::Version { found: 2 })
    );
}
