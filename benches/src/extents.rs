//! Where a sparse file holds data: random reads of holes would measure nothing.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::{BLOCK, MeasureError, Numbers};

/// The data of a file, as ranges of bytes, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extents {
    ranges: Vec<Range<u64>>,
}

/// Finds the data of the file at `path`.
///
/// # Errors
/// [`MeasureError::Io`], or [`MeasureError::NoData`] if there is not a single whole block.
pub fn data_of(file: &File, path: &Path) -> Result<Extents, MeasureError> {
    let mut ranges = Vec::new();
    let mut at = 0;
    loop {
        let start = match seek(file, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break,
            found => found.map_err(MeasureError::io("seek in", path))?,
        };
        at = seek(file, SeekFrom::Hole(start)).map_err(MeasureError::io("seek in", path))?;
        ranges.push(start..at);
    }
    let extents = Extents { ranges };
    match extents.units(BLOCK as u64).is_empty() {
        true => Err(MeasureError::NoData {
            path: path.to_owned(),
        }),
        false => Ok(extents),
    }
}

impl Extents {
    /// Bytes of data.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.ranges
            .iter()
            .map(|range| range.end - range.start)
            .sum()
    }

    /// Offsets of the aligned pieces of `unit` bytes that are data as a whole, ascending.
    #[must_use]
    pub fn units(&self, unit: u64) -> Vec<u64> {
        let whole = |range: &Range<u64>| range.start.div_ceil(unit)..range.end / unit;
        self.ranges
            .iter()
            .flat_map(whole)
            .map(|number| number * unit)
            .collect()
    }

    /// At most `count` of [`Self::units`] in random order, of which no two are the same.
    #[must_use]
    pub fn sample(&self, unit: u64, count: usize, seed: u64) -> Vec<u64> {
        let mut units = self.units(unit);
        Numbers::new(seed).shuffle(&mut units);
        units.truncate(count);
        units
    }

    /// The extents' first `bytes`, and what is left of the extent that they end in.
    #[must_use]
    pub fn first(&self, bytes: u64) -> Self {
        let mut left = bytes;
        let mut ranges = Vec::new();
        for range in &self.ranges {
            if left == 0 {
                break;
            }
            let end = range.end.min(range.start + left);
            left -= end - range.start;
            ranges.push(range.start..end);
        }
        Self { ranges }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_whole_and_aligned() {
        let extents = Extents {
            ranges: vec![4096..20480, 32768..36864],
        };
        assert_eq!(extents.units(8192), [8192]);
        assert_eq!(extents.units(4096), [4096, 8192, 12288, 16384, 32768]);
        assert_eq!(extents.bytes(), 20480);
        assert_eq!(extents.sample(4096, 2, 1).len(), 2);
    }

    #[test]
    fn the_first_bytes_may_end_inside_an_extent() {
        let extents = Extents {
            ranges: vec![0..8192, 16384..32768],
        };
        let first = extents.first(12288);
        assert_eq!(first.ranges, vec![0..8192, 16384..20480]);
    }

    #[test]
    fn holes_are_no_data() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        assert!(matches!(
            data_of(file.as_file(), file.path()),
            Err(MeasureError::NoData { .. })
        ));
        std::os::unix::fs::FileExt::write_all_at(file.as_file(), &[1; 65536], 131_072).unwrap();
        let found = data_of(file.as_file(), file.path()).unwrap();
        assert!(found.units(65536).contains(&131_072));
    }
}
