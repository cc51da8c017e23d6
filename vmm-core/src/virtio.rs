//! What all virtio devices share: descriptor chains, queues, the mmio transport, worker threads.

mod chain;
mod counters;
mod interrupt;
mod mmio;
mod queue;
mod worker;

pub(crate) use chain::{Chain, ChainError, Segments};
pub(crate) use counters::{InterruptCounters, QueueCounters};
pub(crate) use interrupt::Interrupt;
pub(crate) use mmio::{CheckedRegisters, MmioTransport};
pub use mmio::{QueueState, TransportState};
pub(crate) use queue::{QueueError, ServedQueue, Verdict};
pub(crate) use worker::{Event, PausedWorker, Worker};

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use virtio_bindings::bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::bindings::virtio_ring::{
    VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC,
};

/// Features that every device here offers, because the transport and queues provide them.
pub(crate) const COMMON_FEATURES: u64 =
    1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC;

/// What the transport shows of a device.
#[derive(Clone, Debug)]
pub(crate) struct DeviceInfo {
    /// Device type of virtio 1.2, chapter 5.
    pub(crate) id: u32,
    /// Features that it offers.
    pub(crate) features: u64,
    /// The most entries that each of its queues can have, powers of two.
    pub(crate) queue_sizes: &'static [u16],
    /// Its configuration space, which does not change.
    pub(crate) config: Vec<u8>,
}

impl DeviceInfo {
    /// Whether these features will do for a driver.
    pub(crate) fn accepts(&self, features: u64) -> bool {
        features & !self.features == 0 && features & (1 << VIRTIO_F_VERSION_1) != 0
    }
}

/// A configuration space that changes while the device is there.
pub(crate) trait LiveConfig: Send + Sync {
    /// Fills `data` with what lies at `offset`; what passes the end stays as it is.
    fn read(&self, offset: usize, data: &mut [u8]);

    /// Handles the write of a driver with which these features were negotiated; 0 before that.
    fn write(&self, features: u64, offset: usize, data: &[u8]);

    /// The driver has reset the device, at work or not: what it wrote is taken back.
    fn reset(&self);

    /// A number that changes whenever the device changes the space (virtio 1.2, section 2.5.2).
    fn generation(&self) -> u32;

    /// Called once, with what tells the driver of changes.
    fn connect(&self, interrupt: Interrupt);

    /// The VM has ended: lets go of that.
    fn disconnect(&self);
}

/// The part of a device that runs on its worker thread.
///
/// A device is either idle or active. `activate` makes it active and `reset` idle again; `serve` is only
/// called in between.
pub(crate) trait Handler: Send {
    /// Called when the driver has set the device up, with the features that it accepted.
    fn activate(&mut self, features: u64);

    /// Called when the driver has reset the device: it keeps nothing of what went before.
    fn reset(&mut self);

    /// The device's configuration space, if it changes; the one in [`DeviceInfo`] is not used then.
    fn live_config(&self) -> Option<Arc<dyn LiveConfig>> {
        None
    }

    /// Descriptors, at most [`MAX_SOURCES`](worker::MAX_SOURCES), by which the host side asks for calls of `serve`: when one becomes
    /// readable, with [`Event::Source`] and its place among them. The handler reads it empty.
    fn sources(&self) -> Vec<RawFd> {
        Vec::new()
    }

    /// Does the work that `event` announces.
    ///
    /// # Errors
    /// A queue that the driver has wrecked; the device then asks for a reset and serves nothing until it comes.
    fn serve(&mut self, event: Event, queues: &mut [ServedQueue]) -> Result<(), QueueError>;
}

/// Whether a descriptor that does not block, and fails like this, should be asked again when it says so.
pub(crate) fn is_for_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
