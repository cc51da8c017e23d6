//! The vsock device as plain data.

use serde::{Deserialize, Serialize};

use super::Shared;

/// The state of the vsock device. Connections are not part of it: in the VM that goes on, the guest is told
/// that all are gone (`VIRTIO_VSOCK_EVENT_TRANSPORT_RESET`; virtio 1.2, section 5.10.6.6), and its sockets
/// fail with `ECONNRESET`. Those that listen go on listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VsockState {
    /// The guest's address.
    pub guest_cid: u32,
}

impl VsockState {
    pub(crate) fn new(guest_cid: u32) -> Self {
        Self { guest_cid }
    }
}

impl Shared {
    /// The guest has connections of the VM that this one continues: it is told that they are gone, as soon as
    /// it has a buffer for that.
    pub(crate) fn owe_transport_reset(&self) {
        self.lock().owe_transport_reset();
    }
}
