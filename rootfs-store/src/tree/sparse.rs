//! Maps of sparse files.
//!
//! Invariant: the pieces of a [`SparseMap`] are in order, don't overlap, and end within the file.

use super::error::TarFault;
use super::header::unsigned;

/// Most pieces that one sparse file may have.
pub(crate) const MAX_SPARSE_RUNS: usize = 1 << 20;
/// Bytes of one piece in a GNU header: offset and length as 12 digits each.
const GNU_PIECE_BYTES: usize = 24;

/// Which parts of a file its data stands for; the rest are holes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SparseMap {
    /// Length of the file with its holes.
    pub(super) len: u64,
    /// Offset and length of each piece, none empty.
    pub(super) pieces: Vec<(u64, u64)>,
}

impl SparseMap {
    /// Checks a map against itself and against the `data_len` bytes that come with it.
    pub(super) fn new(len: u64, numbers: &[u64], data_len: u64) -> Result<Self, TarFault> {
        if !numbers.len().is_multiple_of(2) {
            return Err(TarFault::SparseMap);
        }
        let mut pieces = Vec::new();
        let (mut end, mut total) = (0u64, 0u64);
        for pair in numbers.chunks_exact(2) {
            let (offset, piece_len) = (pair[0], pair[1]);
            let piece_end = offset.checked_add(piece_len).ok_or(TarFault::SparseMap)?;
            if offset < end || piece_end > len {
                return Err(TarFault::SparseMap);
            }
            end = piece_end;
            // No overflow: the pieces are disjoint parts of `len` bytes.
            total += piece_len;
            if piece_len > 0 {
                pieces.push((offset, piece_len));
            }
        }
        if total != data_len {
            return Err(TarFault::SparseMap);
        }
        Ok(Self { len, pieces })
    }
}

/// Appends the pieces of a GNU header or of one of its continuation blocks to `numbers`.
pub(super) fn take_gnu_pieces(field: &[u8], numbers: &mut Vec<u64>) -> Result<(), TarFault> {
    for piece in field.chunks_exact(GNU_PIECE_BYTES) {
        if piece[0] == 0 {
            return Ok(());
        }
        if numbers.len() >= 2 * MAX_SPARSE_RUNS {
            return Err(TarFault::TooManySparseRuns);
        }
        numbers.push(unsigned(&piece[..12], "sparse offset")?);
        numbers.push(unsigned(&piece[12..], "sparse length")?);
    }
    Ok(())
}
