use vm_memory::{Bytes, FileOffset};

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

#[test]
fn pages_of_a_shared_file_leave_the_file() {
    use std::os::unix::fs::MetadataExt;
    let file = tempfile::tempfile_in("/dev/shm").unwrap();
    file.set_len(1 << 20).unwrap();
    let shared = file.try_clone().unwrap();
    let ranges = [(GuestAddress(0), 1 << 20, Some(FileOffset::new(shared, 0)))];
    let memory = Memory::from_ranges_with_files(ranges).unwrap();
    memory.write_slice(&[1; 0x8000], GuestAddress(0)).unwrap();
    let used = || file.metadata().unwrap().blocks() * 512;
    assert_eq!(used(), 0x8000);
    give_back(&memory, GuestAddress(0x1000), 0x2000);
    assert_eq!(used(), 0x6000);
    assert_eq!(memory.read_obj::<u8>(GuestAddress(0x2fff)).unwrap(), 0);
    assert_eq!(memory.read_obj::<u8>(GuestAddress(0x3000)).unwrap(), 1);
}
