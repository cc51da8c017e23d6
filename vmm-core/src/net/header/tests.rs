use super::*;

const CHECKSUM: Offloads = Offloads {
    checksum: true,
    tso4: false,
    tso6: false,
    ecn: false,
};
const ALL: Offloads = Offloads {
    checksum: true,
    tso4: true,
    tso6: true,
    ecn: true,
};

fn header(flags: u8, gso_type: u8) -> OffloadHeader {
    OffloadHeader {
        flags,
        gso_type,
        header_length: 54,
        gso_size: 1448,
        checksum_start: 34,
        checksum_offset: 16,
    }
}

#[test]
fn headers_keep_their_fields_in_bytes() {
    let bytes = [1, 4, 2, 1, 4, 3, 6, 5, 8, 7, 0, 0];
    let header = OffloadHeader::from_bytes(bytes);
    assert_eq!(header.gso_size, 0x304);
    assert_eq!(header.checksum_start, 0x506);
    assert_eq!(header.to_bytes(), bytes);
    assert_eq!(header.with_buffers(0x201)[10..], [1, 2]);
}

#[test]
fn a_checksum_must_lie_in_the_frame() {
    assert!(header(1, 0).checked(52, CHECKSUM).is_some());
    assert!(header(1, 0).checked(51, CHECKSUM).is_none());
    let far = OffloadHeader {
        checksum_start: u16::MAX,
        checksum_offset: u16::MAX,
        ..header(1, 0)
    };
    assert!(far.checked(65535, ALL).is_none());
    // Who leaves no checksum to do has nothing to say of it.
    let plain = far.without_device_bits();
    let plain = OffloadHeader { flags: 0, ..plain };
    assert_eq!(plain.checked(60, ALL), Some(OffloadHeader::default()));
}

#[test]
fn segments_need_a_receiver_that_cuts_them() {
    for (gso_type, offloads, passes) in [
        (1, ALL, true),
        (4, ALL, true),
        (0x81, ALL, true),
        (1, CHECKSUM, false),
        (4, Offloads { tso6: false, ..ALL }, false),
        (0x81, Offloads { ecn: false, ..ALL }, false),
        (1, Offloads::default(), false),
        (0x80, ALL, false),
        (3, ALL, false),
        (5, ALL, false),
        (255, ALL, false),
    ] {
        let checked = header(1, gso_type).checked(4000, offloads);
        assert_eq!(checked.is_some(), passes, "{gso_type} {offloads:?}");
    }
    let none = OffloadHeader {
        gso_size: 0,
        ..header(1, 1)
    };
    assert!(none.checked(4000, ALL).is_none());
    let long = OffloadHeader {
        header_length: 4001,
        ..header(1, 1)
    };
    assert!(long.checked(4000, ALL).is_none());
}
