//! How a device reaches its driver.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use virtio_bindings::bindings::virtio_config::{
    VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_NEEDS_RESET,
};
use virtio_bindings::bindings::virtio_mmio::{VIRTIO_MMIO_INT_CONFIG, VIRTIO_MMIO_INT_VRING};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::InterruptCounters;

/// A device's interrupt line with the two registers that say why it is raised. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The InterruptStatus register.
    pending: AtomicU32,
    /// The Status register: here, because a device can set a bit of it.
    status: AtomicU32,
    line: EventFd,
    counters: Arc<InterruptCounters>,
}

impl Interrupt {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            shared: Arc::new(Shared {
                pending: AtomicU32::new(0),
                status: AtomicU32::new(0),
                line: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
                counters: Arc::default(),
            }),
        })
    }

    /// The eventfd to connect with an interrupt line of the guest.
    pub(crate) fn line(&self) -> &EventFd {
        &self.shared.line
    }

    /// What counts how often it is raised.
    pub(crate) fn counters(&self) -> &Arc<InterruptCounters> {
        &self.shared.counters
    }

    /// Tells the driver that buffers were used.
    pub(crate) fn buffers_used(&self) {
        self.raise(VIRTIO_MMIO_INT_VRING);
    }

    /// Tells a driver that is at work that the configuration space changed.
    pub(crate) fn config_changed(&self) {
        if self.status() & VIRTIO_CONFIG_S_DRIVER_OK != 0 {
            self.raise(VIRTIO_MMIO_INT_CONFIG);
        }
    }

    /// Tells the driver that the device can't go on without a reset.
    pub(crate) fn needs_reset(&self) {
        self.shared
            .status
            .fetch_or(VIRTIO_CONFIG_S_NEEDS_RESET, Ordering::SeqCst);
        self.shared.counters.resets_needed.one();
        self.raise(VIRTIO_MMIO_INT_CONFIG);
    }

    pub(crate) fn pending(&self) -> u32 {
        self.shared.pending.load(Ordering::SeqCst)
    }

    pub(crate) fn acknowledge(&self, bits: u32) {
        self.shared.pending.fetch_and(!bits, Ordering::SeqCst);
    }

    pub(crate) fn status(&self) -> u32 {
        self.shared.status.load(Ordering::SeqCst)
    }

    /// Whether the driver was told that the device can't go on without a reset.
    pub(crate) fn is_reset_needed(&self) -> bool {
        self.status() & VIRTIO_CONFIG_S_NEEDS_RESET != 0
    }

    /// Sets bits that the driver may set; returns all that are set now.
    pub(crate) fn add_status(&self, bits: u32) -> u32 {
        self.shared.status.fetch_or(bits, Ordering::SeqCst) | bits
    }

    /// Becomes the interrupt of a device in that state. If the driver has something to be told, it is told
    /// again: what was on its way to it may be lost.
    pub(crate) fn take_over(&self, status: u32, pending: u32) {
        self.shared.status.store(status, Ordering::SeqCst);
        if pending != 0 {
            self.raise(pending);
        }
    }

    /// The driver has reset the device.
    pub(crate) fn clear(&self) {
        self.shared.pending.store(0, Ordering::SeqCst);
        self.shared.status.store(0, Ordering::SeqCst);
    }

    fn raise(&self, reason: u32) {
        self.shared.pending.fetch_or(reason, Ordering::SeqCst);
        self.shared.counters.raised.one();
        // A full counter means that an interrupt is on its way already.
        let _already_raised = self.shared.line.write(1);
    }
}
