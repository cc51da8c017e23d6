//! Writes that a guest might make, the same to a disk of ours and to a plain file that other tools read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rootfs_store::WritableDisk;

use crate::{MeasureError, Numbers};

/// Runs of new bytes at random places.
#[derive(Debug, Clone, Copy)]
pub struct Changes {
    /// Number of runs; two of them may overlap.
    pub runs: u64,
    /// Bytes of each, a multiple of 4096.
    pub run_bytes: u64,
    /// Decides places and bytes.
    pub seed: u64,
}

/// What can be written to.
pub trait Target {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// Whatever the target gives.
    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), MeasureError>;
}

impl Target for WritableDisk {
    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), MeasureError> {
        Ok(self.write_at(bytes, offset)?)
    }
}

impl Target for (&File, &Path) {
    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), MeasureError> {
        let (file, path) = self;
        file.write_all_at(bytes, offset)
            .map_err(MeasureError::io("write", path))
    }
}

impl Changes {
    /// Writes all runs into the first `disk_bytes` of `target`; nothing is synced.
    ///
    /// # Errors
    /// Whatever the target gives.
    pub fn write_to(&self, target: &impl Target, disk_bytes: u64) -> Result<(), MeasureError> {
        let mut numbers = Numbers::new(self.seed);
        let mut buffer = vec![0; usize::try_from(self.run_bytes).unwrap_or(0)];
        for _ in 0..self.runs {
            numbers.fill(&mut buffer);
            let offset = numbers.block_below(disk_bytes - self.run_bytes + crate::BLOCK as u64);
            target.write(&buffer, offset)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    struct Written(RefCell<Vec<(usize, u64)>>);

    impl Target for Written {
        fn write(&self, bytes: &[u8], offset: u64) -> Result<(), MeasureError> {
            self.0.borrow_mut().push((bytes.len(), offset));
            Ok(())
        }
    }

    #[test]
    fn runs_stay_inside_the_disk() {
        let written = Written(RefCell::default());
        let changes = Changes {
            runs: 100,
            run_bytes: 8192,
            seed: 1,
        };
        changes.write_to(&written, 16384).unwrap();
        let written = written.0.into_inner();
        assert_eq!(written.len(), 100);
        assert!(
            written
                .iter()
                .all(|(len, at)| at + *len as u64 <= 16384 && at.is_multiple_of(4096))
        );
        assert!(written.iter().any(|(_, at)| *at == 8192));
    }
}
