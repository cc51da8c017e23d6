mod addresses;

use vm_memory::Bytes;

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
