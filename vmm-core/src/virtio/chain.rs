//! A descriptor chain, checked once and copied out of the guest's reach.
//!
//! Invariant: every segment of a [`Chain`] lies in guest memory, and the driver can't change where.

use std::ops::Deref;

use virtio_queue::DescriptorChain;
use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryBackend, Permissions, VolatileSlice};

use crate::memory::Memory;

/// The most descriptors that a request can have. Linux uses at most a queue's size.
pub(crate) const MAX_DESCRIPTORS: usize = 1024;

/// Why a chain, or an access to it, is refused. It is the driver's fault in each case.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ChainError {
    #[error("a descriptor chain has more than {MAX_DESCRIPTORS} descriptors")]
    TooLong,
    #[error("a descriptor chain leads out of its table, passes 4 GiB, or never ends")]
    CutOff,
    #[error("a descriptor for reading follows one for writing")]
    BadOrder,
    #[error("a descriptor of {length} bytes at {address:#x} is not in guest memory")]
    NotInMemory { address: u64, length: u32 },
    #[error("an access of {length} bytes at {offset} passes the end of a buffer of {size} bytes")]
    OutOfRange {
        offset: u64,
        length: usize,
        size: u64,
    },
}

/// A request: what the device may read, and what it may write.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    pub(crate) readable: Segments,
    pub(crate) writable: Segments,
    /// How many descriptors were looked at.
    pub(crate) descriptors: usize,
}

/// A buffer scattered over guest memory.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    list: Vec<(GuestAddress, u32)>,
    bytes: u64,
}

impl Chain {
    /// What stands for a chain that was refused: it is empty, and was as much work as any can be.
    pub(crate) fn refused() -> Self {
        Self {
            descriptors: MAX_DESCRIPTORS,
            ..Self::default()
        }
    }

    /// Walks the descriptors of `chain`.
    pub(crate) fn collect<M>(chain: DescriptorChain<M>) -> Result<Self, ChainError>
    where
        M: Deref<Target = Memory> + Clone,
    {
        let mut collected = Self::default();
        let memory = chain.memory().clone();
        let mut goes_on = true;
        for (index, descriptor) in chain.enumerate() {
            goes_on = descriptor.has_next();
            collected.descriptors = index + 1;
            if index == MAX_DESCRIPTORS {
                return Err(ChainError::TooLong);
            }
            let (segments, access) = if descriptor.is_write_only() {
                (&mut collected.writable, Permissions::Write)
            } else if collected.writable.list.is_empty() {
                (&mut collected.readable, Permissions::Read)
            } else {
                return Err(ChainError::BadOrder);
            };
            let (address, length) = (descriptor.addr(), descriptor.len());
            if !GuestMemory::check_range(&memory, address, length as usize, access) {
                return Err(ChainError::NotInMemory {
                    address: address.0,
                    length,
                });
            }
            segments.push(address, length);
        }
        // The iterator ends without a word where it can't follow.
        match goes_on {
            true => Err(ChainError::CutOff),
            false => Ok(collected),
        }
    }
}

impl Segments {
    /// Adds memory whose place has been checked.
    pub(crate) fn push(&mut self, address: GuestAddress, length: u32) {
        self.list.push((address, length));
        self.bytes += u64::from(length);
    }

    /// Length of the whole buffer.
    pub(crate) fn len(&self) -> u64 {
        self.bytes
    }

    /// The pieces of guest memory that it consists of.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (GuestAddress, u32)> {
        self.list.iter().copied()
    }

    /// Copies from the buffer at `offset` into all of `target`.
    pub(crate) fn read(
        &self,
        memory: &Memory,
        offset: u64,
        target: &mut [u8],
    ) -> Result<(), ChainError> {
        let mut done = 0;
        self.pieces(offset, target.len(), |address, length| {
            let part = &mut target[done..done + length];
            done += length;
            memory.read_slice(part, address).is_ok()
        })
    }

    /// Copies all of `source` into the buffer at `offset`.
    pub(crate) fn write(
        &self,
        memory: &Memory,
        offset: u64,
        source: &[u8],
    ) -> Result<(), ChainError> {
        let mut done = 0;
        self.pieces(offset, source.len(), |address, length| {
            let part = &source[done..done + length];
            done += length;
            memory.write_slice(part, address).is_ok()
        })
    }

    /// The memory that makes up `length` bytes of the buffer at `offset`; none of the slices is empty.
    pub(crate) fn slices<'a>(
        &self,
        memory: &'a Memory,
        offset: u64,
        length: u64,
    ) -> Result<Vec<VolatileSlice<'a>>, ChainError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let mut slices = Vec::with_capacity(self.list.len());
        self.pieces(offset, length, |address, length| {
            GuestMemoryBackend::get_slices(memory, address, length)
                .try_for_each(|slice| slice.map(|slice| slices.push(slice)))
                .is_ok()
        })?;
        Ok(slices)
    }

    /// Calls `visit` with each piece of guest memory that makes up `length` bytes at `offset`.
    fn pieces(
        &self,
        offset: u64,
        length: usize,
        mut visit: impl FnMut(GuestAddress, usize) -> bool,
    ) -> Result<(), ChainError> {
        let out_of_range = ChainError::OutOfRange {
            offset,
            length,
            size: self.bytes,
        };
        let mut skip = offset;
        let mut left = length;
        for (address, segment) in &self.list {
            if left == 0 {
                break;
            }
            let segment = u64::from(*segment);
            if skip >= segment {
                skip -= segment;
                continue;
            }
            let piece = usize::try_from(segment - skip).map_or(left, |rest| rest.min(left));
            if !visit(GuestAddress(address.0 + skip), piece) {
                return Err(out_of_range);
            }
            left -= piece;
            skip = 0;
        }
        if left == 0 { Ok(()) } else { Err(out_of_range) }
    }
}

#[cfg(test)]
mod tests;
