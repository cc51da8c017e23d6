use super::*;

const HEADER: Header = Header {
    disk_bytes: 1 << 30,
    base: SnapshotDigest::from_bytes([7; 32]),
    over_previous: true,
};

#[test]
fn header_and_sectors_read_as_they_were_written() {
    let len = file_len(HEADER.disk_bytes);
    assert_eq!(Header::parse(&HEADER.to_bytes(), len), Ok(HEADER));
    let mut bits = [0; BITS_BYTES];
    bits[5] = 0x81;
    assert_eq!(open_sector(9, &seal_sector(9, &bits)), Ok(bits));
    assert_eq!(open_sector(9, &[0; SECTOR_BYTES]), Ok([0; BITS_BYTES]));
}

#[test]
fn format_has_not_changed() {
    let mut all = HEADER.to_bytes().to_vec();
    all.extend(seal_sector(3, &[0xa5; BITS_BYTES]));
    let golden = include_bytes!("../../../golden/disk-map-v2.bin");
    assert_eq!(&all, golden, "maps of version 2 can't be read any more");
}

#[test]
fn maps_of_version_1_are_read() {
    let golden = include_bytes!("../../../golden/disk-map-v1.bin");
    let (header, sector) = golden.split_first_chunk().unwrap();
    let expected = Header {
        over_previous: false,
        ..HEADER
    };
    assert_eq!(
        Header::parse(header, file_len(HEADER.disk_bytes)),
        Ok(expected)
    );
    assert_eq!(
        open_sector(3, sector.try_into().unwrap()),
        Ok([0xa5; BITS_BYTES])
    );
}

#[test]
fn any_changed_bit_is_noticed() {
    let good = HEADER.to_bytes();
    for bit in 0..SECTOR_BYTES * 8 {
        let mut bad = good;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(
            Header::parse(&bad, file_len(HEADER.disk_bytes)).is_err(),
            "bit {bit}"
        );
    }
    let good = seal_sector(1, &[1; BITS_BYTES]);
    for bit in 0..SECTOR_BYTES * 8 {
        let mut bad = good;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            open_sector(1, &bad),
            Err(MapError::Checksum { sector: 2 }),
            "bit {bit}"
        );
    }
}

#[test]
fn sector_in_a_wrong_place_is_noticed() {
    let sector = seal_sector(1, &[1; BITS_BYTES]);
    assert_eq!(
        open_sector(2, &sector),
        Err(MapError::Checksum { sector: 3 })
    );
}

#[test]
fn newer_version_and_wrong_length_are_named() {
    let mut newer = HEADER.to_bytes();
    newer[8] = 3;
    assert_eq!(
        Header::parse(&newer, 0),
        Err(MapError::Version { found: 3 })
    );
    let expected = file_len(HEADER.disk_bytes);
    assert_eq!(
        Header::parse(&HEADER.to_bytes(), expected - 512),
        Err(MapError::Length {
            found: expected - 512,
            expected
        })
    );
}
