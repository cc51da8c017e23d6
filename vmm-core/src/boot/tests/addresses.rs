//! Where things are, for any size of memory.

use super::*;
use crate::config::{MAX_VCPUS, MIN_MEMORY_MIB};
use crate::layout::{
    ACPI_BYTES, BOOT_STACK, GDT, HIGH_MEMORY_START, IO_APIC, KVM_IDENTITY_MAP, KVM_TSS, LOCAL_APIC,
    LOW_RAM_END, MAX_VIRTIO_DEVICES, MMIO_GAP_END, PAGE_TABLES, VIRTIO_MMIO, VIRTIO_MMIO_STRIDE,
    ZERO_PAGE,
};
use proptest::prelude::*;

const RAM: u32 = 1;
const PAGE: u64 = 4096;

/// Makes sure that none of the `(start, length)`s wraps, is empty, or overlaps another.
fn assert_apart(pieces: &[(u64, u64)]) {
    let mut pieces = pieces.to_vec();
    pieces.sort_unstable();
    for (start, length) in &pieces {
        assert!(*length > 0 && start.checked_add(*length).is_some());
    }
    for pair in pieces.windows(2) {
        assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{pair:x?}");
    }
}

fn mib() -> impl Strategy<Value = u32> {
    prop_oneof![
        MIN_MEMORY_MIB..=u32::MAX,
        MIN_MEMORY_MIB..64,
        3000u32..5000,
        u32::MAX - 8..=u32::MAX
    ]
}

#[test]
fn what_the_host_writes_for_a_kernel_lies_apart_and_in_its_memory() {
    let longest_line = 2048;
    let low = [
        (GDT, 8 * GDT_ENTRIES.len() as u64),
        (ZERO_PAGE, PAGE),
        // The stack grows down to the zero page.
        (ZERO_PAGE + PAGE, BOOT_STACK - ZERO_PAGE - PAGE),
        // A root, a table of its entries, and a directory for each of 4 GiB.
        (PAGE_TABLES, 6 * PAGE),
        (COMMAND_LINE, longest_line),
    ];
    let firmware = [
        (ACPI, ACPI_BYTES),
        (RESET_VECTOR, FIRMWARE.len() as u64),
        (HIGH_MEMORY_START, u64::from(MIN_MEMORY_MIB) << 20),
    ];
    assert_apart(&[&low[..], &firmware].concat());
    assert!(
        low.iter()
            .all(|(start, length)| start + length <= LOW_RAM_END)
    );
    let largest = acpi::tables(MAX_VCPUS, MAX_VIRTIO_DEVICES, true);
    assert!(largest.bytes.len() as u64 <= ACPI_BYTES);
}

#[test]
fn devices_lie_apart_and_in_the_hole() {
    let devices = [
        (VIRTIO_MMIO, MAX_VIRTIO_DEVICES as u64 * VIRTIO_MMIO_STRIDE),
        (IO_APIC.into(), PAGE),
        (LOCAL_APIC.into(), PAGE),
        (KVM_IDENTITY_MAP, PAGE),
        (KVM_TSS as u64, 3 * PAGE),
    ];
    assert_apart(&devices);
    let hole = MMIO_GAP_START..MMIO_GAP_END;
    for (start, length) in devices {
        assert!(hole.contains(&start) && start + length <= hole.end);
    }
}

proptest! {
    #[test]
    fn the_memory_map_is_apart_ordered_and_has_all_ram_but_the_first_mib_s_end(mib in mib()) {
        let bytes = u64::from(mib) << 20;
        let map = memory_map::memory_map(bytes);
        let pieces: Vec<_> = map.iter().map(|(start, length, _)| (*start, *length)).collect();
        assert_apart(&pieces);
        prop_assert!(pieces.is_sorted());
        let ram: Vec<_> = map.iter().filter(|piece| piece.2 == RAM).collect();
        for (start, length, _) in &ram {
            prop_assert!(start + length <= MMIO_GAP_START || *start >= MMIO_GAP_END);
        }
        let told: u64 = ram.iter().map(|piece| piece.1).sum();
        prop_assert_eq!(told, bytes - (HIGH_MEMORY_START - LOW_RAM_END));
    }

    #[test]
    fn an_initrd_lies_in_its_room_as_high_as_a_page_can(
        start in prop_oneof![any::<u64>(), 0u64..1 << 32],
        room in prop_oneof![any::<u64>(), 0u64..1 << 32, 0u64..3 * PAGE],
        length in prop_oneof![any::<u64>(), 1u64..1 << 32, 1u64..3 * PAGE],
    ) {
        let end = start.saturating_add(room);
        match initrd_start(&(start..end), length) {
            Some(at) => {
                prop_assert!(at >= start && at.is_multiple_of(PAGE));
                let gap = end - at.checked_add(length).expect("it does not wrap");
                prop_assert!(gap < PAGE);
            }
            None => {
                // No page in the room has so much of it behind it.
                let first = u128::from(start).next_multiple_of(u128::from(PAGE));
                prop_assert!(first + u128::from(length) > u128::from(end));
            }
        }
    }

    #[test]
    fn a_command_line_is_taken_if_and_only_if_a_kernel_reads_it_whole(
        line in prop_oneof!["[ -~]{0,80}", ".{0,80}", "[ -~]{2040,2056}"],
    ) {
        let is_whole = line.len() <= 2047 && line.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        prop_assert_eq!(check_command_line(&line).is_ok(), is_whole);
    }
}
