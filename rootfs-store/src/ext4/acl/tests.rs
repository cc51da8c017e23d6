use super::*;

const ENTRIES: [(u16, u32); 6] = [
    (0x01, u32::MAX),
    (0x02, 1000),
    (0x04, u32::MAX),
    (0x08, 50),
    (0x10, u32::MAX),
    (0x20, u32::MAX),
];

fn linux(entries: &[(u16, u32)]) -> Vec<u8> {
    let mut acl = LINUX_VERSION.to_le_bytes().to_vec();
    for (tag, id) in entries {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&6u16.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    acl
}

#[test]
fn only_named_entries_keep_their_ids() {
    let disk = to_disk(&linux(&ENTRIES)).unwrap();
    assert_eq!(disk.len(), 4 + 4 * 4 + 2 * 8);
    assert_eq!(disk[..8], [1, 0, 0, 0, 1, 0, 6, 0]);
    assert_eq!(disk[8..16], [2, 0, 6, 0, 0xe8, 3, 0, 0]);
}

#[test]
fn malformed_lists_are_refused() {
    let good = linux(&ENTRIES);
    assert_eq!(to_disk(&good[..3]), None);
    assert_eq!(to_disk(&good[..good.len() - 1]), None);
    assert_eq!(to_disk(&[&[1], &good[1..]].concat()), None);
    assert_eq!(to_disk(&linux(&[(0x03, 1)])), None);
}

#[test]
fn what_is_stored_is_what_linux_handed_in() {
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, id) in [(0x01, u32::MAX), (0x02, 1000), (0x08, 7), (0x20, u32::MAX)] {
        value.extend_from_slice(&u16::to_le_bytes(tag));
        value.extend_from_slice(&6u16.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    let stored = to_disk(&value).unwrap();
    assert_eq!(from_disk(&stored).unwrap(), value);
    for len in [0, 3, 5, stored.len() - 1] {
        assert_eq!(from_disk(&stored[..len]), None, "{len}");
    }
}
