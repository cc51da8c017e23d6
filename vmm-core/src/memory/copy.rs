//! Copies to and from a guest's memory: all of it as a stream of bytes, its regions one after the other, lowest first;
//! and files into it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::{Memory, PAGE_BYTES};

/// How much is copied at a time.
const PIECE_BYTES: usize = 256 << 10;

/// The pieces of memory, lowest first.
fn pieces(memory: &Memory) -> impl Iterator<Item = (GuestAddress, usize)> {
    memory.iter().flat_map(|region| {
        let (start, length) = (region.start_addr(), region.len());
        let offsets = (0..length).step_by(PIECE_BYTES);
        offsets.map(move |offset| {
            let piece = usize::try_from(length - offset).unwrap_or(PIECE_BYTES);
            (start.unchecked_add(offset), piece.min(PIECE_BYTES))
        })
    })
}

/// Writes the memory to `target`; `false` if `is_over` ends that.
pub(crate) fn copy_out(
    memory: &Memory,
    target: &mut dyn Write,
    is_over: impl Fn() -> bool,
) -> io::Result<bool> {
    let mut buffer = vec![0; PIECE_BYTES];
    for (address, length) in pieces(memory) {
        if is_over() {
            return Ok(false);
        }
        let piece = &mut buffer[..length];
        memory
            .read_slice(piece, address)
            .map_err(io::Error::other)?;
        target.write_all(piece)?;
    }
    Ok(true)
}

/// Fills the memory, which is all zeroes, from `source`. Pages of zeroes are not touched, so that they cost
/// nothing.
pub(crate) fn copy_in(memory: &Memory, source: &mut dyn Read) -> io::Result<()> {
    let page_bytes = usize::try_from(PAGE_BYTES).map_err(io::Error::other)?;
    let mut buffer = vec![0; PIECE_BYTES];
    for (address, length) in pieces(memory) {
        let piece = &mut buffer[..length];
        source.read_exact(piece)?;
        let pages = (0..).step_by(page_bytes).zip(piece.chunks(page_bytes));
        for (offset, page) in pages.filter(|(_, page)| page.iter().any(|byte| *byte != 0)) {
            memory
                .write_slice(page, address.unchecked_add(offset))
                .map_err(io::Error::other)?;
        }
    }
    Ok(())
}

/// Copies the first `length` bytes of `file` to `address`. Others may do so with the same file at the same time.
pub(crate) fn copy_file(
    memory: &Memory,
    address: GuestAddress,
    file: &File,
    length: u64,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    for offset in (0..length).step_by(PIECE_BYTES) {
        let left = usize::try_from(length - offset).unwrap_or(PIECE_BYTES);
        let piece = &mut buffer[..left.min(PIECE_BYTES)];
        file.read_exact_at(piece, offset)?;
        let target = address
            .checked_add(offset)
            .ok_or(io::ErrorKind::InvalidInput)?;
        memory
            .write_slice(piece, target)
            .map_err(io::Error::other)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
