//! What memory has to be like, but for what the device may write.

use vm_memory::{
    Bytes, GuestAddress, GuestMemory, GuestMemoryBackend, GuestMemoryRegion, Permissions,
};

use super::{BUFFERS, FILL};
use crate::memory::Memory;

/// One piece of memory.
struct Piece {
    start: u64,
    bytes: Vec<u8>,
    may_change: Vec<bool>,
}

impl Piece {
    /// The part of `length` bytes at `address` that lies here: its places here and among them, and its length.
    fn shared(&self, address: u64, length: usize) -> Option<(usize, usize, usize)> {
        let end = address.checked_add(length as u64)?;
        let end = end.min(self.start + self.bytes.len() as u64);
        let from = address.max(self.start);
        let place = |start| usize::try_from(from - start).ok();
        let length = usize::try_from(end.checked_sub(from)?).ok()?;
        Some((place(self.start)?, place(address)?, length))
    }
}

pub(super) struct Shadow(Vec<Piece>);

impl Shadow {
    /// Fills the part of memory that holds buffers, and takes note of all of it.
    pub(super) fn new(memory: &Memory) -> Self {
        let pieces = memory.iter().map(|region| {
            let length = usize::try_from(region.len()).expect("pieces are small");
            let mut piece = Piece {
                start: region.start_addr().0,
                bytes: vec![0; length],
                may_change: vec![false; length],
            };
            let address = GuestAddress(piece.start);
            let read = memory.read_slice(&mut piece.bytes, address);
            read.expect("the piece is there");
            for (byte, at) in piece.bytes.iter_mut().zip(piece.start..) {
                if at >= BUFFERS {
                    *byte = FILL;
                }
            }
            let written = memory.write_slice(&piece.bytes, address);
            written.expect("the piece is there");
            piece
        });
        Self(pieces.collect())
    }

    /// Writes all of `bytes`, if they lie in memory.
    pub(super) fn write(&mut self, memory: &Memory, address: u64, bytes: &[u8]) {
        if !is_in_memory(memory, address, bytes.len()) {
            return;
        }
        let written = memory.write_slice(bytes, GuestAddress(address));
        written.expect("it was checked");
        for piece in &mut self.0 {
            if let Some((at, from, length)) = piece.shared(address, bytes.len()) {
                piece.bytes[at..at + length].copy_from_slice(&bytes[from..from + length]);
            }
        }
    }

    /// Lets the device write there, if all of it is memory.
    pub(super) fn allow(&mut self, memory: &Memory, address: u64, length: u64) {
        let Ok(length) = usize::try_from(length) else {
            return;
        };
        if !is_in_memory(memory, address, length) {
            return;
        }
        for piece in &mut self.0 {
            if let Some((at, _, length)) = piece.shared(address, length) {
                piece.may_change[at..at + length].fill(true);
            }
        }
    }

    /// Makes sure that nothing else has changed; with `may_empty`, anything may have become zero.
    pub(super) fn check(&self, memory: &Memory, may_empty: bool) {
        for piece in &self.0 {
            let mut now = vec![0; piece.bytes.len()];
            let read = memory.read_slice(&mut now, GuestAddress(piece.start));
            read.expect("the piece is there");
            let was = piece.bytes.iter().zip(&piece.may_change);
            for ((is, (was, may_change)), at) in now.iter().zip(was).zip(piece.start..) {
                let is_right = is == was || *may_change || may_empty && *is == 0;
                assert!(is_right, "{at:#x} was {was:#x} and is {is:#x}");
            }
        }
    }
}

fn is_in_memory(memory: &Memory, address: u64, length: usize) -> bool {
    GuestMemory::check_range(memory, GuestAddress(address), length, Permissions::Write)
}
