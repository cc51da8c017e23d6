//! The guest's buffers as backends see them.
//!
//! Invariant: every byte of a buffer is handed out once, from its start to its end, and no reference to it is
//! ever made: the guest may change it at any time.

mod vectored;

use std::io;
use std::os::fd::AsFd;

use vectored::Vectors;
use vm_memory::VolatileSlice;

use crate::memory::Memory;
use crate::virtio::{ChainError, Segments};

/// The most bytes of data that one call of a [`BlockBackend`](crate::BlockBackend) is for.
pub const MAX_TRANSFER_BYTES: usize = 1 << 20;
/// The most bytes that one call of a [`BlockBackend`](crate::BlockBackend) discards or zeroes.
pub const MAX_RANGE_CALL_BYTES: usize = 64 << 20;

const ZEROES: [u8; 4096] = [0; 4096];

/// Where a read of a disk puts its bytes, from the first to the last: memory of the guest.
///
/// [`ReadTarget::from_slice`] makes one of a plain buffer, to test a backend, or to build one upon another.
#[derive(Debug)]
pub struct ReadTarget<'a>(Scattered<'a>);

/// Where a write to a disk takes its bytes from, from the first to the last: memory of the guest, which may
/// go on changing it. Whoever looks at a byte twice may see two values.
///
/// [`WriteSource::from_slice`] makes one of a plain buffer, to test a backend, or to build one upon another.
#[derive(Debug)]
pub struct WriteSource<'a>(Scattered<'a>);

/// A buffer in pieces, and how far it was used.
#[derive(Debug)]
struct Scattered<'a> {
    pieces: Vec<VolatileSlice<'a>>,
    /// The piece that comes next, and how much of it was used.
    next: usize,
    used: usize,
    /// Bytes that the present call may use.
    left: usize,
    /// `next`, `used` and `left` when the call began.
    start: (usize, usize, usize),
    /// Whether the host could not use the memory.
    memory_failed: bool,
}

impl<'a> ReadTarget<'a> {
    /// A target that is a plain buffer.
    #[must_use]
    pub fn from_slice(buffer: &'a mut [u8]) -> Self {
        let left = buffer.len();
        let mut target = Scattered::new(vec![VolatileSlice::from(buffer)]);
        target.allow(left);
        Self(target)
    }

    /// The `length` bytes of `segments` at `offset`; [`allow`](Self::allow) says how much of them a call is
    /// for.
    pub(super) fn of_guest(
        memory: &'a Memory,
        segments: &Segments,
        offset: u64,
        length: u64,
    ) -> Result<Self, ChainError> {
        Scattered::of_guest(memory, segments, offset, length).map(Self)
    }

    /// Begins a call that is for the next `bytes`.
    pub(super) fn allow(&mut self, bytes: usize) {
        self.0.allow(bytes);
    }

    /// Bytes that the read still has to put.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.0.left
    }

    /// Puts `bytes` next.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if they are more than what remains; nothing was put then.
    pub fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.0.each(bytes.len(), |piece| {
            let (now, later) = bytes.split_at(piece.len());
            piece.copy_from(now);
            bytes = later;
        })
    }

    /// Puts `count` zeroes next.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub fn put_zeroes(&mut self, count: usize) -> io::Result<()> {
        self.0.each(count, |piece| {
            let mut rest = piece;
            while !rest.is_empty() {
                let now = rest.len().min(ZEROES.len());
                rest.copy_from(&ZEROES[..now]);
                let Ok(after) = rest.offset(now) else { break };
                rest = after;
            }
        })
    }

    /// Puts the `count` bytes of `file` that start at `offset` next, without a copy in between.
    ///
    /// # Errors
    /// As for [`put`](Self::put); [`io::ErrorKind::UnexpectedEof`] if the file ends before; what reading it
    /// answers. Some of the bytes may have been put then.
    pub fn put_from_file(&mut self, file: impl AsFd, offset: u64, count: usize) -> io::Result<()> {
        let file = file.as_fd();
        let kind = io::ErrorKind::UnexpectedEof;
        self.0
            .each_run(count, offset, kind, |run, offset| run.read(file, offset))
    }

    /// Whether a transfer failed because the host could not use the memory (`EFAULT`): nothing is wrong with the file
    /// then, or with the disk.
    #[must_use]
    pub fn memory_failed(&self) -> bool {
        self.0.memory_failed
    }

    /// Starts again: all that this call has put is to be put anew.
    pub fn restart(&mut self) {
        (self.0.next, self.0.used, self.0.left) = self.0.start;
    }
}

impl<'a> WriteSource<'a> {
    /// A source that is a plain buffer.
    #[must_use]
    pub fn from_slice(buffer: &'a [u8]) -> Self {
        let mut source = Scattered::new(vec![vectored::read_only(buffer)]);
        source.allow(buffer.len());
        Self(source)
    }

    /// As for [`ReadTarget::of_guest`].
    pub(super) fn of_guest(
        memory: &'a Memory,
        segments: &Segments,
        offset: u64,
        length: u64,
    ) -> Result<Self, ChainError> {
        Scattered::of_guest(memory, segments, offset, length).map(Self)
    }

    /// As for [`ReadTarget::allow`].
    pub(super) fn allow(&mut self, bytes: usize) {
        self.0.allow(bytes);
    }

    /// Bytes that the write still has to take.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.0.left
    }

    /// As for [`ReadTarget::memory_failed`].
    #[must_use]
    pub fn memory_failed(&self) -> bool {
        self.0.memory_failed
    }

    /// Fills `buffer` with the bytes that come next.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if it is longer than what remains; nothing was taken then.
    pub fn take(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        self.0.each(buffer.len(), |piece| {
            done += piece.copy_to(&mut buffer[done..]);
        })
    }

    /// Writes the next `count` bytes to `file` at `offset`, without a copy in between.
    ///
    /// # Errors
    /// As for [`take`](Self::take); [`io::ErrorKind::WriteZero`] if the file takes no more; what writing to
    /// it answers. Some of the bytes may have been written then.
    pub fn write_to_file(&mut self, file: impl AsFd, offset: u64, count: usize) -> io::Result<()> {
        let file = file.as_fd();
        let kind = io::ErrorKind::WriteZero;
        self.0
            .each_run(count, offset, kind, |run, offset| run.write(file, offset))
    }
}

impl<'a> Scattered<'a> {
    fn new(pieces: Vec<VolatileSlice<'a>>) -> Self {
        Self {
            pieces,
            next: 0,
            used: 0,
            left: 0,
            start: (0, 0, 0),
            memory_failed: false,
        }
    }

    fn allow(&mut self, bytes: usize) {
        self.left = bytes;
        self.start = (self.next, self.used, bytes);
    }

    fn of_guest(
        memory: &'a Memory,
        segments: &Segments,
        offset: u64,
        length: u64,
    ) -> Result<Self, ChainError> {
        Ok(Self::new(segments.slices(memory, offset, length)?))
    }

    /// What is unused of the piece that comes next.
    fn unused(&self) -> Option<VolatileSlice<'a>> {
        self.pieces.get(self.next)?.offset(self.used).ok()
    }

    fn advance(&mut self, mut bytes: usize) {
        self.left -= bytes;
        while let Some(piece) = self.pieces.get(self.next) {
            let rest = piece.len() - self.used;
            if bytes < rest {
                self.used += bytes;
                return;
            }
            bytes -= rest;
            self.next += 1;
            self.used = 0;
        }
    }

    fn check(&self, bytes: usize) -> io::Result<()> {
        if bytes <= self.left {
            return Ok(());
        }
        let message = format!(
            "{bytes} bytes are more than the {} that are left",
            self.left
        );
        Err(io::Error::new(io::ErrorKind::InvalidInput, message))
    }

    /// Gives the next `bytes` to `visit`, piece by piece.
    fn each(&mut self, bytes: usize, mut visit: impl FnMut(VolatileSlice<'a>)) -> io::Result<()> {
        self.check(bytes)?;
        let mut rest = bytes;
        while rest > 0 {
            let unused = self.unused().ok_or(io::ErrorKind::InvalidInput)?;
            let now = unused.len().min(rest);
            visit(unused.subslice(0, now).map_err(io::Error::other)?);
            self.advance(now);
            rest -= now;
        }
        Ok(())
    }

    /// Gives the next `bytes` to `transfer`, several pieces at a time, with where they belong in a file that
    /// begins at `offset`; it says how many bytes it moved, and none is an error of `kind`.
    fn each_run(
        &mut self,
        bytes: usize,
        offset: u64,
        kind: io::ErrorKind,
        transfer: impl Fn(&Vectors<'a>, u64) -> io::Result<usize>,
    ) -> io::Result<()> {
        self.check(bytes)?;
        let mut done = 0;
        while done < bytes {
            let run = self.run(bytes - done);
            let moved = match transfer(&run, offset + done as u64) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.memory_failed |= error.raw_os_error() == Some(libc::EFAULT);
                    return Err(error);
                }
                Ok(moved) => moved,
            };
            if moved == 0 {
                return Err(kind.into());
            }
            self.advance(moved);
            done += moved;
        }
        Ok(())
    }

    /// The pieces of the next `bytes`, or as many as one call of the host takes.
    fn run(&self, bytes: usize) -> Vectors<'a> {
        let mut run = Vectors::new();
        let (mut rest, mut skip) = (bytes, self.used);
        for piece in self.pieces.iter().skip(self.next) {
            let now = (piece.len() - skip).min(rest);
            let part = piece.subslice(skip, now).ok().filter(|_| now > 0);
            if !part.is_some_and(|part| run.push(part)) {
                break;
            }
            skip = 0;
            rest -= now;
        }
        run
    }
}

#[cfg(test)]
mod tests;
