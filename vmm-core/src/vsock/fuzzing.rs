//! The guest's side of a vsock device, without queues or threads.

use std::sync::Arc;

use super::packet::{HEADER_BYTES, Header};
use super::{Shared, VsockHost, VsockStream};

/// Length of a packet's header.
pub const PACKET_HEADER_BYTES: usize = HEADER_BYTES;

/// What a guest can do to a vsock device, and, since calls that block are of no use here, the host's part of
/// connecting.
#[derive(Debug)]
pub struct GuestPort(Arc<Shared>);

impl GuestPort {
    /// A device of a guest with this address.
    ///
    /// # Panics
    /// If the host has no descriptors.
    #[must_use]
    pub fn new(guest_cid: u32) -> Self {
        Self(Shared::new(guest_cid).expect("the host has descriptors"))
    }

    /// The host's side.
    #[must_use]
    pub fn host(&self) -> VsockHost {
        VsockHost::new(Arc::clone(&self.0))
    }

    /// Begins a connection to the guest's `port`; the stream is not open before the guest answers.
    #[must_use]
    pub fn connect(&self, port: u32) -> Option<VsockStream> {
        let id = self.0.lock().connect(port).ok()?;
        Some(VsockStream::new(Arc::clone(&self.0), id))
    }

    /// Takes a packet from the guest: a header, and as much data as it says.
    pub fn send(&self, header: &[u8; PACKET_HEADER_BYTES], data: &[u8]) {
        let header = Header::from_bytes(header);
        let mut mux = self.0.lock();
        if let Some(ports) = mux.receive(&header, data) {
            mux.refuse(&header, ports);
        }
    }

    /// The next packet for a buffer of the guest's that has `room` for data.
    #[must_use]
    pub fn take(&self, room: usize) -> Option<([u8; PACKET_HEADER_BYTES], Vec<u8>)> {
        let mut data = Vec::new();
        let header = self.0.lock().next_packet(room, &mut data)?;
        Some((header.to_bytes(), data))
    }

    /// The driver resets the device.
    pub fn reset(&self) {
        self.0.lock().reset();
    }

    /// How many connections there are, how many of them are in line to tell the guest something, and how many
    /// resets wait for it.
    #[must_use]
    pub fn held(&self) -> (usize, usize, usize) {
        self.0.lock().held()
    }
}
