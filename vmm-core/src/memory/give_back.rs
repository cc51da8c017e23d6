//! Giving pages of guest memory to the host while the guest runs.

#![expect(unsafe_code, reason = "madvise has no safe interface")]

use libc::MADV_DONTNEED;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress};

use super::{Memory, PAGE_BYTES, Region};

/// Gives back the whole pages of RAM among the `length` bytes at `start`: they read as zeroes afterwards, or, where a
/// shared kernel lay at first, as the kernel's file.
/// What is no RAM, or no whole page, stays as it is, and so does what the host won't take.
pub(crate) fn give_back(memory: &Memory, start: GuestAddress, length: u64) {
    let Some(end) = start.0.checked_add(length) else {
        return;
    };
    for region in memory.iter() {
        let region_end = region.start_addr().0 + region.len();
        let from = start.0.max(region.start_addr().0);
        let from = from.checked_next_multiple_of(PAGE_BYTES);
        let to = end.min(region_end) / PAGE_BYTES * PAGE_BYTES;
        if let Some(from) = from.filter(|from| *from < to) {
            advise(region, from - region.start_addr().0, to - from);
        }
    }
}

/// Gives back `length` bytes at `offset` of `region`, which are whole pages in it.
fn advise(region: &Region, offset: u64, length: u64) {
    let (Ok(offset), Ok(length)) = (usize::try_from(offset), usize::try_from(length)) else {
        return;
    };
    // The slice is checked to lie in the region's mapping.
    let Ok(slice) = region.get_slice(MemoryRegionAddress(offset as u64), length) else {
        return;
    };
    let address = slice.ptr_guard_mut().as_ptr().cast();
    // SAFETY: the slice is memory of a mapping that `region` keeps, and all Rust code uses that as volatile
    // memory only, which other writers may change at any time: that it becomes zero is one more such
    // change.
    let result = unsafe { libc::madvise(address, length, MADV_DONTNEED) };
    if result != 0 {
        tracing::debug!(error = %std::io::Error::last_os_error(), "a guest's pages were not given back");
    }
}
