mod addresses;

use std::io::{Seek, SeekFrom, Write};

use proptest::prelude::*;
use vm_memory::{Bytes, GuestMemoryRegion, MemoryRegionAddress};

use super::*;

#[test]
fn ram_leaves_the_device_hole_free() {
    assert_eq!(ram_ranges(256 << 20), [(0, 256 << 20)]);
    assert_eq!(ram_ranges(3 << 30), [(0, 3 << 30)]);
    assert_eq!(ram_ranges(5 << 30), [(0, 3 << 30), (4 << 30, 2 << 30)]);
}

#[test]
fn what_is_given_back_is_ram_on_both_sides_of_the_hole_and_nothing_past_the_end() {
    let memory = map(5 << 10).unwrap();
    let ends = [
        MMIO_GAP_START - 2 * PAGE_BYTES,
        MMIO_GAP_START - PAGE_BYTES,
        MMIO_GAP_END,
        MMIO_GAP_END + PAGE_BYTES,
        (6 << 30) - PAGE_BYTES,
    ];
    let fill = || {
        for at in ends {
            memory.write_obj(1u8, GuestAddress(at)).unwrap();
        }
    };
    let full = || ends.map(|at| memory.read_obj::<u8>(GuestAddress(at)).unwrap());
    fill();
    let start = MMIO_GAP_START - PAGE_BYTES;
    give_back(
        &memory,
        GuestAddress(start),
        MMIO_GAP_END + PAGE_BYTES - start,
    );
    assert_eq!(full(), [1, 0, 0, 1, 1]);
    fill();
    give_back(&memory, GuestAddress(MMIO_GAP_END + 1), 5 << 30);
    assert_eq!(full(), [1, 1, 1, 0, 0]);
    fill();
    for (start, length) in [
        (u64::MAX, 1),
        (u64::MAX - 1, 1),
        (1, u64::MAX),
        (0, 4095),
        (6 << 30, 4096),
    ] {
        give_back(&memory, GuestAddress(start), length);
    }
    assert_eq!(full(), [1; 5]);
}

proptest! {
    #[test]
    fn ram_is_all_there_in_order_and_out_of_the_hole(mib in 1u32..=1 << 20) {
        let ranges = ram_ranges(u64::from(mib) << 20);
        let sum: u64 = ranges.iter().map(|(_, length)| length).sum();
        prop_assert_eq!(sum, u64::from(mib) << 20);
        for (start, length) in &ranges {
            prop_assert!(*length > 0);
            prop_assert!(start + length <= MMIO_GAP_START || *start >= MMIO_GAP_END);
        }
        for pair in ranges.windows(2) {
            prop_assert!(pair[0].0 + pair[0].1 <= pair[1].0);
        }
    }
}

#[test]
fn memory_ends_where_addresses_do() {
    assert!(
        check_reach(u32::MAX, 52).is_err(),
        "the hole moves the end up"
    );
    for (mib, bits, fits) in [
        (3 << 10, 32, true),
        ((3 << 10) + 1, 32, false),
        (63 << 10, 36, true),
        ((63 << 10) + 1, 36, false),
        (u32::MAX, 63, true),
        (u32::MAX, 64, true),
    ] {
        let reach = check_reach(mib, bits);
        assert_eq!(reach.is_ok(), fits, "{mib} MiB, {bits} bits");
    }
    let error = check_reach(64 << 10, 36).unwrap_err().to_string();
    assert!(error.contains("0x1040000000"), "{error}");
    assert!(error.contains("36 bits"), "{error}");
}

#[test]
fn a_file_is_copied_by_several_at_once_and_stays_where_it_is() {
    const BYTES: u64 = 1 << 20;
    let content: Vec<u8> = (0..BYTES).map(|at| (at % 251) as u8).collect();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content).unwrap();
    file.seek(SeekFrom::Start(5)).unwrap();
    let copied = || {
        for _ in 0..50 {
            let memory = map(2).unwrap();
            copy_file(&memory, GuestAddress(PAGE_BYTES), &file, BYTES).unwrap();
            let mut there = vec![0; content.len()];
            memory
                .read_slice(&mut there, GuestAddress(PAGE_BYTES))
                .unwrap();
            assert!(there == content);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(copied);
        }
    });
    assert_eq!(file.stream_position().unwrap(), 5);
}

#[test]
fn what_is_copied_must_be_in_the_file_and_fit_into_memory() {
    let memory = map(1).unwrap();
    let file = tempfile::tempfile().unwrap();
    file.set_len(PAGE_BYTES).unwrap();
    let kind =
        |at, length| copy_file(&memory, GuestAddress(at), &file, length).map_err(|it| it.kind());
    assert_eq!(kind(0, PAGE_BYTES), Ok(()));
    assert_eq!(kind(0, PAGE_BYTES + 1), Err(io::ErrorKind::UnexpectedEof));
    assert!(kind((1 << 20) - 1, 2).is_err());
    assert!(kind(u64::MAX, PAGE_BYTES).is_err());
}

/// What the kernel says of the mapping that begins where a region does.
fn flags_of(region: &Region) -> String {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let start = format!("{:x}-", region.host_address().addr());
    let mapping = maps.split_once(&start).expect("it begins there").1;
    let flags = mapping.split_once("VmFlags:").unwrap().1;
    flags.lines().next().unwrap().to_owned()
}

#[test]
fn each_piece_begins_at_a_multiple_of_a_large_page_and_may_ask_for_some() {
    for pages in [Pages::Default, Pages::TransparentHuge] {
        let memory = map_pages(3 << 10 | 17, pages).unwrap();
        assert_eq!(memory.num_regions(), 2);
        for region in memory.iter() {
            assert!(region.host_address().addr().get().is_multiple_of(2 << 20));
            let asks = flags_of(region).split(' ').any(|flag| flag == "hg");
            assert_eq!(asks, pages == Pages::TransparentHuge);
        }
    }
}

#[test]
fn memory_that_is_dropped_is_gone() {
    let memory = map_pages(64, Pages::Default).unwrap();
    let region = memory.iter().next().unwrap();
    let start = format!("{:x}-", region.host_address().addr());
    let is_mapped = || {
        std::fs::read_to_string("/proc/self/maps")
            .unwrap()
            .contains(&start)
    };
    let clone = memory.clone();
    drop(memory);
    assert!(is_mapped());
    clone.write_obj(7u8, GuestAddress((64 << 20) - 1)).unwrap();
    drop(clone);
    assert!(!is_mapped());
}

#[test]
fn slices_of_a_piece_stay_in_it() {
    let memory = map(1).unwrap();
    let region = memory.iter().next().unwrap();
    let get = |offset, count| region.get_slice(MemoryRegionAddress(offset), count).is_ok();
    assert!(get(0, 1 << 20));
    assert!(get(1 << 20, 0));
    assert!(!get(0, (1 << 20) + 1));
    assert!(!get(1, 1 << 20));
    assert!(!get(u64::MAX, 1));
    assert!(!get(1, usize::MAX));
}
