//! Descriptor and page tables of the boot processor in 64-bit mode.
//!
//! The first 4 GiB are mapped to themselves with 2 MiB pages: more than the boot protocol asks for, and
//! enough for any place that the kernel, zero page, command line and initrd can be in.

use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use crate::layout::{GDT, PAGE_TABLES};
use crate::memory::Memory;

/// Null, unused, 64-bit code (selector 0x10), data (selector 0x18): the selectors that Linux expects.
pub(crate) const GDT_ENTRIES: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];

const PAGE: u64 = 4096;
const ENTRIES_PER_TABLE: u64 = 512;
const MAPPED_GIB: u64 = 4;
const PRESENT_WRITABLE: u64 = 0b11;
const LARGE_PAGE: u64 = 1 << 7;
const LARGE_PAGE_BITS: u32 = 21;

/// Writes both into guest memory.
pub(crate) fn write(memory: &Memory) -> Result<(), GuestMemoryError> {
    for (index, entry) in (0..).zip(GDT_ENTRIES) {
        memory.write_obj(entry, GuestAddress(GDT + index * 8))?;
    }
    let pointers = PAGE_TABLES + PAGE;
    memory.write_obj(pointers | PRESENT_WRITABLE, GuestAddress(PAGE_TABLES))?;
    for gib in 0..MAPPED_GIB {
        let directory = pointers + PAGE * (gib + 1);
        memory.write_obj(
            directory | PRESENT_WRITABLE,
            GuestAddress(pointers + gib * 8),
        )?;
        for entry in 0..ENTRIES_PER_TABLE {
            let page = (gib * ENTRIES_PER_TABLE + entry) << LARGE_PAGE_BITS;
            memory.write_obj(
                page | PRESENT_WRITABLE | LARGE_PAGE,
                GuestAddress(directory + entry * 8),
            )?;
        }
    }
    Ok(())
}
