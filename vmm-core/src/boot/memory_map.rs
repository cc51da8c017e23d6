//! What memory there is, as either boot protocol tells it.

use crate::layout::{ACPI, HIGH_MEMORY_START, LOW_RAM_END};
use crate::memory::ram_ranges;

/// Kinds of memory, by the numbers of the PC BIOS call E820 that both protocols use.
const E820_RAM: u32 = 1;
const E820_RESERVED: u32 = 2;

/// The `(start, length, kind)` of each piece, lowest first, without overlaps.
pub(super) fn memory_map(memory_bytes: u64) -> Vec<(u64, u64, u32)> {
    let mut map = vec![
        (0, LOW_RAM_END, E820_RAM),
        (LOW_RAM_END, 0xa_0000 - LOW_RAM_END, E820_RESERVED),
        (ACPI, HIGH_MEMORY_START - ACPI, E820_RESERVED),
    ];
    for (start, length) in ram_ranges(memory_bytes) {
        let from = start.max(HIGH_MEMORY_START);
        map.push((from, start + length - from, E820_RAM));
    }
    map
}
