//! A piece of guest memory: where it is in this process, and where the guest sees it.
//!
//! Invariant: a region's bytes stay mapped, readable and writable, for as long as the region lives. Nobody
//! has references to them: other threads, the guest and the host change them at any time.

#![expect(
    unsafe_code,
    reason = "mapping memory at a multiple of a large page, and giving it back, have no safe interface"
)]

use std::io;
use std::ptr::NonNull;

use vm_memory::guest_memory::Result as MemoryResult;
use vm_memory::{
    GuestAddress, GuestMemoryError, GuestMemoryRegion, GuestMemoryRegionBytes, MemoryRegionAddress,
    VolatileSlice,
};

use super::Pages;

/// What all pieces begin at a multiple of, so that the host can use large pages where the guest does.
const ALIGNMENT: usize = 2 << 20;

/// A range of this process's addresses that belongs to one owner.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the addresses belong to the process, not to a thread.
unsafe impl Send for Mapping {}
// SAFETY: nothing is done through a shared reference but to read the two fields.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps zeroed memory at an address of the host's choice.
    fn new(length: usize, flags: libc::c_int) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
        // SAFETY: a mapping at an address of the host's choice replaces nothing.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, length })
    }

    /// The same for one that starts at a multiple of [`ALIGNMENT`].
    fn aligned(length: usize) -> io::Result<Self> {
        let longer = length
            .checked_add(ALIGNMENT)
            .ok_or(io::ErrorKind::OutOfMemory)?;
        let all = Self::new(longer, libc::MAP_NORESERVE)?;
        let address = all.start.addr().get();
        let before = address.next_multiple_of(ALIGNMENT) - address;
        let (_before, rest) = all.split(before);
        let (mapping, _behind) = rest.split(length);
        Ok(mapping)
    }

    /// Takes all of its pages from the host now. Kernels before 5.14 can't, and then the guest's touches do.
    fn populate(&self) -> io::Result<()> {
        match self.advise(libc::MADV_POPULATE_WRITE) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                tracing::debug!("the host's kernel takes huge pages only as a guest touches them");
                Ok(())
            }
            result => result,
        }
    }

    /// Cuts it in two at `at`, which is within it.
    fn split(self, at: usize) -> (Self, Self) {
        assert!(at <= self.length, "a mapping is cut where it is");
        let whole = std::mem::ManuallyDrop::new(self);
        let first = Self {
            start: whole.start,
            length: at,
        };
        let second = Self {
            // SAFETY: the sum is within the mapping, or just behind it, by the assertion above.
            start: unsafe { whole.start.add(at) },
            length: whole.length - at,
        };
        (first, second)
    }

    fn advise(&self, advice: libc::c_int) -> io::Result<()> {
        // SAFETY: the range is this mapping, and no advice that is given here changes what it holds.
        match unsafe { libc::madvise(self.start.as_ptr().cast(), self.length, advice) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.length == 0 {
            return;
        }
        // SAFETY: the range belongs to this mapping, whose owner is done with it.
        let result = unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
        debug_assert_eq!(result, 0, "a mapping of whole pages can be taken back");
    }
}

/// A piece of guest memory.
#[derive(Debug)]
pub(crate) struct Region {
    start: GuestAddress,
    mapping: Mapping,
    pages: Pages,
}

impl Region {
    /// Maps zeroed memory that the guest sees at `start`.
    ///
    /// # Errors
    /// The host's answer to asking for it.
    pub(super) fn map(start: GuestAddress, length: u64, pages: Pages) -> io::Result<Self> {
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
        if start.0.checked_add(length as u64).is_none() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let mapping = match pages.mapping_flags() {
            Some(flags) => Mapping::new(length, flags)?,
            None => Mapping::aligned(length)?,
        };
        if pages.are_reserved() {
            mapping.populate()?;
        }
        if pages == Pages::TransparentHuge {
            mapping.advise(libc::MADV_HUGEPAGE)?;
        }
        Ok(Self {
            start,
            mapping,
            pages,
        })
    }

    /// Where the piece begins in this process.
    pub(crate) fn host_address(&self) -> NonNull<u8> {
        self.mapping.start
    }

    /// What pages it is made of.
    pub(super) fn pages(&self) -> Pages {
        self.pages
    }
}

impl GuestMemoryRegion for Region {
    type B = ();

    fn len(&self) -> u64 {
        self.mapping.length as u64
    }

    fn start_addr(&self) -> GuestAddress {
        self.start
    }

    fn bitmap(&self) {}

    fn get_host_address(&self, at: MemoryRegionAddress) -> MemoryResult<*mut u8> {
        self.get_slice(at, 1)
            .map(|slice| slice.ptr_guard_mut().as_ptr())
    }

    fn get_slice(
        &self,
        offset: MemoryRegionAddress,
        count: usize,
    ) -> MemoryResult<VolatileSlice<'_, ()>> {
        let out_of_range = || GuestMemoryError::InvalidBackendAddress;
        let offset = usize::try_from(offset.0).map_err(|_| out_of_range())?;
        let end = offset.checked_add(count).ok_or_else(out_of_range)?;
        if end > self.mapping.length {
            return Err(out_of_range());
        }
        // SAFETY: the offset is within the mapping, as was just checked.
        let start = unsafe { self.mapping.start.add(offset) };
        // SAFETY: these bytes are mapped for as long as `self` is borrowed, and used as volatile memory
        // alone.
        Ok(unsafe { VolatileSlice::new(start.as_ptr(), count) })
    }
}

impl GuestMemoryRegionBytes for Region {}

#[cfg(test)]
mod tests;
