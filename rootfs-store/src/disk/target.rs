//! Where the bytes of a disk go that are read, and come from that are written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::DiskError;

/// A buffer that a read fills from its start to its end, for instance the memory of a guest.
///
/// Calls that put more than what remains must fail, and so must those that put less than what they are for.
pub trait ReadInto {
    /// Bytes that are still to be put.
    fn remaining(&self) -> usize;

    /// Puts `bytes` next.
    ///
    /// # Errors
    /// Any; the read then fails.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Puts `count` zeroes next.
    ///
    /// # Errors
    /// Any; the read then fails.
    fn put_zeroes(&mut self, count: usize) -> io::Result<()>;

    /// Puts the `count` bytes of `file` that start at `offset` next; that the file ends before is an error.
    ///
    /// # Errors
    /// Any; the read then fails.
    fn put_from_file(&mut self, file: &File, offset: u64, count: usize) -> io::Result<()>;

    /// Takes back all that was put: the read begins anew.
    fn restart(&mut self);
}

/// A buffer that a write takes from its start to its end, for instance the memory of a guest, which may go on
/// changing it.
///
/// Calls that take more than what remains must fail, and so must those that take less than what they are for.
pub trait WriteFrom {
    /// Bytes that are still to be taken.
    fn remaining(&self) -> usize;

    /// Fills `buffer` with the bytes that come next.
    ///
    /// # Errors
    /// Any; the write then fails.
    fn take(&mut self, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes the next `count` bytes to `file` at `offset`.
    ///
    /// # Errors
    /// Any; the write then fails.
    fn write_to_file(&mut self, file: &File, offset: u64, count: usize) -> io::Result<()>;
}

/// Fails unless a read has filled `target`.
pub(super) fn all_put(target: &dyn ReadInto) -> Result<(), DiskError> {
    match target.remaining() {
        0 => Ok(()),
        _ => Err(DiskError::Target {
            source: io::ErrorKind::UnexpectedEof.into(),
        }),
    }
}

/// A plain buffer.
pub(super) struct IntoSlice<'a> {
    buffer: &'a mut [u8],
    done: usize,
}

impl<'a> IntoSlice<'a> {
    pub(super) fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, done: 0 }
    }

    /// The next `count` bytes, to be filled.
    fn next(&mut self, count: usize) -> io::Result<&mut [u8]> {
        let next = self.buffer[self.done..].get_mut(..count);
        let next = next.ok_or(io::ErrorKind::InvalidInput)?;
        self.done += count;
        Ok(next)
    }
}

impl ReadInto for IntoSlice<'_> {
    fn remaining(&self) -> usize {
        self.buffer.len() - self.done
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.next(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn put_zeroes(&mut self, count: usize) -> io::Result<()> {
        self.next(count)?.fill(0);
        Ok(())
    }

    fn put_from_file(&mut self, file: &File, offset: u64, count: usize) -> io::Result<()> {
        file.read_exact_at(self.next(count)?, offset)
    }

    fn restart(&mut self) {
        self.done = 0;
    }
}

#[cfg(test)]
mod tests;
