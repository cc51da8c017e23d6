//! A descriptor that is readable while a flag is set.

#![expect(
    unsafe_code,
    reason = "an eventfd of vmm-sys-util can't be borrowed as a descriptor"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

#[derive(Debug)]
pub(super) struct Bell(EventFd);

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).map(Self)
    }

    pub(super) fn set(&self) {
        // A full counter is not 0 either.
        let _set_already = self.0.write(1);
    }

    pub(super) fn clear(&self) {
        // It fails if the counter is 0 already.
        let _count = self.0.read();
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `self` keeps the descriptor open, and is borrowed for as long.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}
