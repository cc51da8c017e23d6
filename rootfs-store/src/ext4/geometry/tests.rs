use super::*;

const MIB: u64 = 1 << 20;

fn geometry(disk_bytes: u64, inodes: u32) -> Geometry {
    Geometry::new(disk_bytes, inodes, 64 << 10)
        .unwrap()
        .unwrap()
}

#[test]
fn copies_are_in_groups_0_and_1_and_powers_of_3_5_and_7() {
    let groups: Vec<_> = (0..130).filter(|g| has_copy(*g)).collect();
    assert_eq!(groups, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
    let backups: Vec<_> = geometry(8 << 30, 11).backup_groups().collect();
    assert_eq!(backups, [1, 3, 5, 7, 9, 25, 27, 49]);
}

#[test]
fn a_short_last_group_is_not_used() {
    assert_eq!(geometry(128 * MIB, 11).blocks, 32768);
    assert_eq!(geometry(137 * MIB - 4096, 11).blocks, 32768);
    assert_eq!(geometry(137 * MIB, 11).blocks, 32768 + 2304);
    assert_eq!(geometry(137 * MIB, 11).groups, 2);
    for end in [1, 512, 32767, 32768, 32769, 35072, 35073] {
        let blocks = Geometry::enough_blocks(end);
        assert!(blocks >= end && usable_blocks(blocks) >= end, "{end}");
    }
}

#[test]
fn a_last_group_has_room_for_its_copy_on_disks_of_any_size() {
    // Group 3¹⁰ holds a copy, and so may be the last one.
    for rest in [1, 511, 512, 1051, 1052, 2303, 2304, 32768] {
        let geometry = geometry((59_049 * BLOCKS_PER_GROUP + rest) * BLOCK, 11);
        let last = geometry.groups - 1;
        assert!(
            geometry.group_blocks(last) > geometry.copy_blocks(),
            "{rest}"
        );
    }
}

#[test]
fn inodes_follow_size_unless_files_need_more() {
    assert_eq!(geometry(8 << 30, 11).inodes(), 524_288);
    let crowded = geometry(1 << 30, 100_000);
    assert!(crowded.inodes() > 110_000, "{crowded:?}");
    assert_eq!(geometry(8 * MIB, 32_768).inodes(), 32_768);
    assert_eq!(Geometry::new(8 * MIB, 32_769, 64 << 10), Ok(None));
    for inodes in [11, 32_768, 32_769, 1 << 20] {
        let bytes = Geometry::lower_bound(inodes);
        assert!(geometry(bytes, inodes).inodes() >= inodes);
    }
}

#[test]
fn the_largest_disk_overflows_nothing() {
    let largest = geometry(MAX_DISK_BYTES, 1 << 30);
    assert_eq!(largest.blocks, 1 << 32);
    assert!(largest.inodes() >= 1 << 30);
    assert!(Geometry::new(MAX_DISK_BYTES + 1, 11, 64 << 10).is_err());
}
