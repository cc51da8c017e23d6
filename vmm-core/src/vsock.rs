//! The virtio socket device (virtio 1.2, section 5.10) and the host's ends of its connections.
//!
//! `mux` is the protocol, free of I/O and clocks; `device` moves its packets through the queues, on the
//! device's thread; `host` and `stream` are what the embedder holds, `sockets` what other processes connect to.
//! They meet in [`Shared`], under one lock, and wake each other by condition variables (host side) and an eventfd
//! (device side).

mod connection;
mod device;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod host;
mod mux;
mod packet;
mod sockets;
mod state;
mod stream;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

pub(crate) use device::{VsockDevice, info};
pub use host::{VsockHost, VsockListener};
use mux::Mux;
pub use sockets::{MAX_VSOCK_CLIENTS, VsockSocketError};
pub(crate) use sockets::{Sockets, check_path};
pub use state::VsockState;
pub use stream::VsockStream;

/// The host's vsock address, which guests connect to.
pub const HOST_CID: u32 = 2;

/// What the device and the host's handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    mux: Mutex<Mux>,
    /// Wakes the device's thread: the mux has packets for the guest.
    wake: EventFd,
}

impl Shared {
    pub(crate) fn new(guest_cid: u32) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            mux: Mutex::new(Mux::new(u64::from(guest_cid))),
            wake: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
        }))
    }

    /// Ends all connections and listeners for good: the VM is gone.
    pub(crate) fn close(&self) {
        self.lock().close();
    }

    fn lock(&self) -> MutexGuard<'_, Mux> {
        self.mux.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the lock, and wakes the device's thread if there is something to send.
    fn release(&self, mux: MutexGuard<'_, Mux>) {
        let work = mux.has_packets();
        drop(mux);
        if work {
            self.wake_device();
        }
    }

    fn wake_device(&self) {
        // A full counter is a wake-up, too.
        let _woken_already = self.wake.write(1);
    }
}

#[cfg(test)]
mod tests;
