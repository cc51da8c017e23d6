//! The wish to hear of a backend's descriptor.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

/// Readable while the backend's descriptor is what is being waited for, and never else: a set of descriptors
/// of its own, in which the device puts the one only while it can do something about it.
pub(super) struct Watch {
    set: Epoll,
    descriptor: RawFd,
    wanted: EventSet,
}

impl Watch {
    /// A watch on a descriptor that the caller keeps open for as long; nothing is wanted of it yet.
    ///
    /// # Errors
    /// If there are no descriptors left, or nothing can ever be heard of this one.
    pub(super) fn new(descriptor: BorrowedFd<'_>) -> io::Result<Self> {
        let mut watch = Self {
            set: Epoll::new()?,
            descriptor: descriptor.as_raw_fd(),
            wanted: EventSet::empty(),
        };
        watch.set(EventSet::IN)?;
        watch.set(EventSet::empty())?;
        Ok(watch)
    }

    /// Waits for these events from now on.
    pub(super) fn set(&mut self, wanted: EventSet) -> io::Result<()> {
        if wanted == self.wanted {
            return Ok(());
        }
        let operation = if wanted.is_empty() {
            ControlOperation::Delete
        } else if self.wanted.is_empty() {
            ControlOperation::Add
        } else {
            ControlOperation::Modify
        };
        self.set
            .ctl(operation, self.descriptor, EpollEvent::new(wanted, 0))?;
        self.wanted = wanted;
        Ok(())
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.set.as_raw_fd()
    }
}
