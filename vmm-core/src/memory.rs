//! Guest memory: anonymous mappings around the device hole, and files mapped into them.
//!
//! Below the hole lie up to 3 GiB, and what is more lies above it, up to as many bits as the processor's physical
//! addresses have. The host spends pages as the guest touches them, unless they are [set aside](Pages::Huge2M).

#![expect(
    unsafe_code,
    reason = "mapping a file over memory has no safe interface"
)]

mod copy;
mod give_back;
mod mapping;
mod pages;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion, GuestRegionCollection};

pub(crate) use copy::{copy_file, copy_in, copy_out};
pub(crate) use give_back::give_back;
use mapping::Region;
pub use pages::Pages;

use crate::error::StartError;
use crate::layout::{MMIO_GAP_END, MMIO_GAP_START};

/// Guest memory of one VM. Clones share the mappings, which live as long as any clone.
pub(crate) type Memory = GuestRegionCollection<Region>;

/// A page of the host's and of the guest's.
pub(crate) const PAGE_BYTES: u64 = 4096;

/// The `(start, length)` of each piece of RAM for a VM of `bytes`, lowest first.
pub(crate) fn ram_ranges(bytes: u64) -> Vec<(u64, u64)> {
    let low = bytes.min(MMIO_GAP_START);
    let mut ranges = vec![(0, low)];
    if bytes > low {
        ranges.push((MMIO_GAP_END, bytes - low));
    }
    ranges
}

/// Checks that `mib` MiB of memory can be reached by physical addresses of so many bits.
pub(crate) fn check_reach(mib: u32, address_bits: u8) -> Result<(), StartError> {
    let last = ram_ranges(u64::from(mib) << 20).pop();
    let end = last.map_or(0, |(start, length)| start + length);
    if end <= 1u64.checked_shl(address_bits.into()).unwrap_or(u64::MAX) {
        return Ok(());
    }
    Err(StartError::MemoryOutOfReach {
        asked_mib: mib,
        end,
        address_bits,
    })
}

/// Maps zeroed memory of such pages for a VM of `mib` MiB.
pub(crate) fn map_pages(mib: u32, pages: Pages) -> Result<Memory, StartError> {
    map_ranges(&ram_ranges(u64::from(mib) << 20), pages)
        .map_err(|source| pages.failure(mib, source))
}

/// Maps zeroed memory at each `(start, length)`.
pub(crate) fn map_ranges(ranges: &[(u64, u64)], pages: Pages) -> io::Result<Memory> {
    let regions = ranges
        .iter()
        .map(|(start, length)| Region::map(GuestAddress(*start), *length, pages))
        .collect::<io::Result<Vec<_>>>()?;
    Memory::from_regions(regions).map_err(io::Error::other)
}

/// Maps zeroed memory of ordinary pages.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn map(mib: u32) -> Result<Memory, StartError> {
    map_pages(mib, Pages::Default)
}

/// The size of `memory`, in MiB.
pub(crate) fn mib(memory: &Memory) -> u32 {
    let bytes: u64 = memory.iter().map(GuestMemoryRegion::len).sum();
    u32::try_from(bytes >> 20).unwrap_or(u32::MAX)
}

/// Gives the guest the first `length` bytes of `file` at `address`, both multiples of a page: pages that it only reads
/// stay the file's, and those that it writes become its own. Memory whose pages are larger takes a copy.
pub(crate) fn map_private(
    memory: &Memory,
    address: GuestAddress,
    file: &File,
    length: u64,
) -> io::Result<()> {
    let region = memory.find_region(address);
    if region.is_some_and(|region| region.pages().are_reserved()) {
        return copy_file(memory, address, file, length);
    }
    let length = usize::try_from(length).map_err(io::Error::other)?;
    let target = memory
        .get_slice(address, length)
        .map_err(io::Error::other)?
        .ptr_guard_mut();
    // SAFETY: the range is a part of a mapping that `memory` owns, all of whose uses are by raw pointers that expect it
    // to change at any time; unmapping all of it will unmap this, too. The kernel refuses addresses between pages.
    let mapped = unsafe {
        libc::mmap(
            target.as_ptr().cast(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE,
            file.as_raw_fd(),
            0,
        )
    };
    match mapped {
        libc::MAP_FAILED => {
            let error = io::Error::last_os_error();
            // The range may be unmapped now, and another thread's soon: it must never be unmapped once more.
            std::mem::forget(memory.clone());
            Err(error)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
