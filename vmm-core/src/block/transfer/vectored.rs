//! Transfers between files and memory that somebody else may be using.

#![expect(
    unsafe_code,
    reason = "preadv and pwritev have no safe interface for memory that is shared with a guest"
)]

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};

use vm_memory::VolatileSlice;

/// The most pieces of memory in one call of the host, which would take up to `IOV_MAX`, 1024.
const MAX_PIECES: usize = 64;

/// Pieces of memory for one call of the host.
///
/// Invariant: the first `count` of `list` are memory that stays mapped for `'a`.
pub(super) struct Vectors<'a> {
    list: [libc::iovec; MAX_PIECES],
    count: usize,
    memory: PhantomData<VolatileSlice<'a>>,
}

impl<'a> Vectors<'a> {
    pub(super) fn new() -> Self {
        let none = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        Self {
            list: [none; MAX_PIECES],
            count: 0,
            memory: PhantomData,
        }
    }

    /// Adds a piece; `false` if there is no room for it.
    pub(super) fn push(&mut self, piece: VolatileSlice<'a>) -> bool {
        let Some(place) = self.list.get_mut(self.count) else {
            return false;
        };
        *place = libc::iovec {
            iov_base: piece.ptr_guard_mut().as_ptr().cast(),
            iov_len: piece.len(),
        };
        self.count += 1;
        true
    }

    /// Reads from `file` at `offset`; returns how many bytes came.
    pub(super) fn read(&self, file: BorrowedFd<'_>, offset: u64) -> io::Result<usize> {
        let (list, count) = self.call();
        let offset = position(offset)?;
        // SAFETY: `list` has `count` entries, which by this type's invariant are mapped for longer than the
        // call. That the guest uses the same bytes meanwhile is nothing that Rust code could see: no
        // reference to them exists.
        let read = unsafe { libc::preadv64(file.as_raw_fd(), list, count, offset) };
        usize::try_from(read).map_err(|_| io::Error::last_os_error())
    }

    /// Writes to `file` at `offset`; returns how many bytes went.
    pub(super) fn write(&self, file: BorrowedFd<'_>, offset: u64) -> io::Result<usize> {
        let (list, count) = self.call();
        let offset = position(offset)?;
        // SAFETY: as for `preadv64` above; the call only reads the memory.
        let written = unsafe { libc::pwritev64(file.as_raw_fd(), list, count, offset) };
        usize::try_from(written).map_err(|_| io::Error::last_os_error())
    }

    fn call(&self) -> (*const libc::iovec, libc::c_int) {
        let count = libc::c_int::try_from(self.count).unwrap_or(0);
        (self.list.as_ptr(), count)
    }
}

fn position(offset: u64) -> io::Result<libc::off64_t> {
    libc::off64_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// `buffer` as memory that a [`WriteSource`](super::WriteSource) takes from, which is to say, reads alone.
pub(super) fn read_only(buffer: &[u8]) -> VolatileSlice<'_> {
    // SAFETY: the memory is valid for reads for the slice's lifetime, and nothing writes through a source's
    // pieces: they are copied from and handed to `pwritev64`.
    unsafe { VolatileSlice::new(buffer.as_ptr().cast_mut(), buffer.len()) }
}
