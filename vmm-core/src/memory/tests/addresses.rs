//! Pieces of memory of any size.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn ram_is_all_there_apart_and_never_in_the_hole(mib in prop_oneof![1..=u32::MAX, 3000u32..5000]) {
        let bytes = u64::from(mib) << 20;
        let ranges = ram_ranges(bytes);
        prop_assert_eq!(ranges.iter().map(|range| range.1).sum::<u64>(), bytes);
        let mut last_end = 0;
        for (start, length) in ranges {
            prop_assert!(start >= last_end && length > 0);
            last_end = start.checked_add(length).expect("it does not wrap");
            prop_assert!(last_end <= MMIO_GAP_START || start >= MMIO_GAP_END);
        }
    }

    #[test]
    fn exactly_the_whole_pages_in_a_range_are_given_back(
        start in prop_oneof![any::<u64>(), 0u64..0x12_0000],
        length in prop_oneof![any::<u64>(), 0u64..0x12_0000, 0u64..0x3000],
    ) {
        let memory = map(1).unwrap();
        let pages = (1 << 20) / PAGE_BYTES;
        for page in 0..pages {
            for at in [page * PAGE_BYTES, (page + 1) * PAGE_BYTES - 1] {
                memory.write_obj(1u8, GuestAddress(at)).unwrap();
            }
        }
        give_back(&memory, GuestAddress(start), length);
        let end = u128::from(start) + u128::from(length);
        for page in 0..pages {
            let (first, next) = (page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
            // A range that wraps is none.
            let is_given = start <= first && u128::from(next) <= end && u64::try_from(end).is_ok();
            for at in [first, next - 1] {
                let left = memory.read_obj::<u8>(GuestAddress(at)).unwrap();
                prop_assert_eq!(left == 0, is_given, "page {}", page);
            }
        }
    }
}
