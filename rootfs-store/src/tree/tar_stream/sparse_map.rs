//! Reads the maps of sparse files, of which the stream holds those that are too long for a header.

use std::io::BufRead;

use super::{Entries, EntryKind};
use crate::tree::error::TarFault;
use crate::tree::header::{BLOCK_BYTES, Header};
use crate::tree::pax;
use crate::tree::sparse::{self, MAX_SPARSE_RUNS, SparseMap};

/// Longest decimal number in the map of a sparse file.
const MAX_MAP_DIGITS: usize = 20;

impl<R: BufRead> Entries<R> {
    pub(super) fn gnu_sparse_file(
        &mut self,
        header: &Header<'_>,
        size: u64,
    ) -> Result<EntryKind, TarFault> {
        const CONTINUATION_PIECES_BYTES: usize = 21 * 24;
        let (field, mut more, len) = header.gnu_sparse()?;
        let mut numbers = Vec::new();
        sparse::take_gnu_pieces(field, &mut numbers)?;
        while more {
            let mut block = [0; BLOCK_BYTES];
            let before = numbers.len();
            self.read_exact(&mut block)?;
            sparse::take_gnu_pieces(&block[..CONTINUATION_PIECES_BYTES], &mut numbers)?;
            more = block[CONTINUATION_PIECES_BYTES] != 0;
            if more && numbers.len() == before {
                return Err(TarFault::SparseMap);
            }
        }
        self.set_data(size)?;
        SparseMap::new(len, &numbers, size).map(EntryKind::SparseFile)
    }

    /// Reads the map of format 1.0, which comes in front of the data: a count, then offsets and lengths, one a line.
    pub(super) fn read_map(&mut self) -> Result<Vec<u64>, TarFault> {
        let start = self.data_left;
        let count = self.read_map_number()?;
        let count = usize::try_from(count)
            .ok()
            .filter(|n| *n <= MAX_SPARSE_RUNS);
        let count = count.ok_or(TarFault::TooManySparseRuns)?;
        let mut numbers = Vec::new();
        for _ in 0..2 * count {
            numbers.push(self.read_map_number()?);
        }
        let used = start - self.data_left;
        let mut fill = used.next_multiple_of(BLOCK_BYTES as u64) - used;
        if fill > self.data_left {
            return Err(TarFault::SparseMap);
        }
        while fill > 0 {
            let available = self.fill_data()?.len() as u64;
            let skipped = available.min(fill);
            self.consume_data(usize::try_from(skipped).unwrap_or(usize::MAX));
            fill -= skipped;
        }
        Ok(numbers)
    }

    fn read_map_number(&mut self) -> Result<u64, TarFault> {
        let mut digits = Vec::new();
        loop {
            match self.fill_data()?.first() {
                Some(b'\n') => break,
                Some(digit) if digits.len() < MAX_MAP_DIGITS => digits.push(*digit),
                _ => return Err(TarFault::SparseMap),
            }
            self.consume_data(1);
        }
        self.consume_data(1);
        pax::ascii_number(&digits).ok_or(TarFault::SparseMap)
    }
}
