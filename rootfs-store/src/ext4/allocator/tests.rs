use super::super::geometry::has_copy;
use super::*;

fn allocator() -> (Allocator, u64) {
    let geometry = Geometry::new(8 << 30, 11, 64 << 10).unwrap().unwrap();
    (Allocator::new(&geometry), geometry.copy_blocks())
}

fn assert_apart(used: &[Range<u64>], copy_blocks: u64) {
    let mut end = 0;
    for range in used {
        assert!(range.start >= end && range.end > range.start, "{range:?}");
        end = range.end;
        for group in range.start / BLOCKS_PER_GROUP..=(range.end - 1) / BLOCKS_PER_GROUP {
            let start = group * BLOCKS_PER_GROUP;
            let copy = start..start + copy_blocks;
            let meets = range.start < copy.end && copy.start < range.end;
            assert!(
                !meets || !has_copy(u32::try_from(group).unwrap()),
                "{range:?}"
            );
        }
    }
}

#[test]
fn whole_ranges_are_in_one_piece_and_never_in_a_copy() {
    let (mut allocator, copy_blocks) = allocator();
    for blocks in (1..400).map(|n| n * 97 % 5000) {
        let start = allocator.whole(blocks);
        assert_eq!(allocator.cursor, start + blocks);
    }
    let (used, end) = allocator.finish();
    assert_apart(&used, copy_blocks);
    assert_eq!(end, used.last().unwrap().end);
}

#[test]
fn extents_go_around_copies_and_are_not_too_long() {
    let (mut allocator, copy_blocks) = allocator();
    let mut left = 200_000;
    while left > 0 {
        let range = allocator.extent(left);
        assert!(range.end - range.start <= MAX_EXTENT_BLOCKS);
        left -= range.end - range.start;
    }
    assert_apart(&allocator.finish().0, copy_blocks);
}

#[test]
fn a_phase_is_kept_behind_a_copy() {
    let (mut allocator, copy_blocks) = allocator();
    allocator.cursor = BLOCKS_PER_GROUP - 3;
    allocator.seek(5);
    assert_eq!(allocator.cursor % 16, 5);
    assert!(allocator.cursor >= BLOCKS_PER_GROUP + copy_blocks);
    let before = allocator.cursor;
    allocator.seek(5);
    assert_eq!(allocator.cursor, before);
}
