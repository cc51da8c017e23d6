//! Guest memory: anonymous mappings around the device hole.

mod give_back;

use std::io;

use vm_memory::{GuestAddress, GuestMemoryMmap};

pub(crate) use give_back::{PAGE_BYTES, give_back};

use crate::error::StartError;
use crate::layout::{MMIO_GAP_END, MMIO_GAP_START};

/// Guest memory of one VM. Clones share the mappings, which live as long as any clone.
pub(crate) type Memory = GuestMemoryMmap<()>;

/// The `(start, length)` of each piece of RAM for a VM of `bytes`, lowest first.
pub(crate) fn ram_ranges(bytes: u64) -> Vec<(u64, u64)> {
    let low = bytes.min(MMIO_GAP_START);
    let mut ranges = vec![(0, low)];
    if bytes > low {
        ranges.push((MMIO_GAP_END, bytes - low));
    }
    ranges
}

/// Maps zeroed memory for a VM of `mib` MiB; the host spends pages only as they are touched.
pub(crate) fn map(mib: u32) -> Result<Memory, StartError> {
    let ranges = ram_ranges(u64::from(mib) << 20)
        .into_iter()
        .map(|(start, length)| {
            let length = usize::try_from(length).map_err(io::Error::other)?;
            Ok((GuestAddress(start), length))
        })
        .collect::<Result<Vec<_>, io::Error>>();
    ranges
        .and_then(|ranges| Memory::from_ranges(&ranges).map_err(io::Error::other))
        .map_err(|source| StartError::MapMemory {
            asked_mib: mib,
            source,
        })
}

#[cfg(test)]
mod tests;
