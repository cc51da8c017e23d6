//! The file that holds contents between the layers and the disk: written once front to back, then only read.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Offsets from here on are no places in the file, but stand for contents that are kept elsewhere.
pub(crate) const ELSEWHERE: u64 = 1 << 62;
/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// An unnamed temporary file that is appended to.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    buffer: Vec<u8>,
    /// Bytes in the file, without those in the buffer.
    written: u64,
    /// What the next contents that are kept elsewhere are called.
    elsewhere: u64,
    dir: PathBuf,
}

impl Spool {
    pub(crate) fn create(dir: &Path) -> io::Result<Self> {
        Ok(Self {
            file: tempfile::tempfile_in(dir)?,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            written: 0,
            elsewhere: ELSEWHERE,
            dir: dir.to_owned(),
        })
    }

    /// The folder that the file was made in.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the next byte goes.
    pub(crate) fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// The offset that stands for the next `len` bytes of contents that are kept elsewhere.
    pub(super) fn name_elsewhere(&mut self, len: u64) -> u64 {
        let offset = self.elsewhere;
        self.elsewhere += len;
        offset
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() >= BUFFER_BYTES {
            self.file.write_all(bytes)?;
            self.written += bytes.len() as u64;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Appends `count` zero bytes, less than a block.
    pub(crate) fn append_zeros(&mut self, count: usize) -> io::Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        self.append(&ZEROS[..count])
    }

    /// Makes everything that was appended readable.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Fills `buf` with what was appended from `offset` on, and flushed since.
    pub(crate) fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }
}
