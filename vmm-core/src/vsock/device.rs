//! Moves packets between the queues and the mux, on the device's thread.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use super::packet::{HEADER_BYTES, Header};
use super::{Shared, Sockets};
use crate::memory::Memory;
use crate::virtio::{
    COMMON_FEATURES, Chain, ChainError, DeviceInfo, Event, Handler, QueueError, ServedQueue,
    Verdict,
};

const DEVICE_ID: u32 = 19;
/// Receive, transmit and event queue.
const QUEUE_SIZES: &[u16] = &[256, 256, 8];
/// The most data in a packet, either way; Linux sends no more.
const MAX_DATA_BYTES: usize = 64 << 10;

/// `VIRTIO_VSOCK_EVENT_TRANSPORT_RESET`, the only event that there is.
const TRANSPORT_RESET: [u8; 4] = 0u32.to_le_bytes();

/// What the driver sees: the guest's CID.
pub(crate) fn info(guest_cid: u32) -> DeviceInfo {
    DeviceInfo {
        id: DEVICE_ID,
        features: COMMON_FEATURES,
        queue_sizes: QUEUE_SIZES,
        config: u64::from(guest_cid).to_le_bytes().to_vec(),
    }
}

/// Places of the device's sources.
const WAKE: usize = 0;
const SOCKETS: usize = 1;

/// The device.
pub(crate) struct VsockDevice {
    shared: Arc<Shared>,
    sockets: Option<Sockets>,
    /// Scratch space for the data of a packet for the driver, and of one of its own.
    data: Vec<u8>,
    transmitted: Box<[u8]>,
}

impl VsockDevice {
    pub(crate) fn new(shared: Arc<Shared>, sockets: Option<Sockets>) -> Self {
        Self {
            shared,
            sockets,
            data: Vec::with_capacity(MAX_DATA_BYTES),
            transmitted: vec![0; MAX_DATA_BYTES].into_boxed_slice(),
        }
    }

    /// Takes a packet that the driver sends.
    fn transmit(&mut self, memory: &Memory, chain: &Chain) -> Result<(), ChainError> {
        let mut header = [0; HEADER_BYTES];
        chain.readable.read(memory, 0, &mut header)?;
        let header = Header::from_bytes(&header);
        let length = header.length as usize;
        let data = self.transmitted.get_mut(..length);
        let data = data.ok_or(ChainError::OutOfRange {
            offset: HEADER_BYTES as u64,
            length,
            size: chain.readable.len(),
        })?;
        chain.readable.read(memory, HEADER_BYTES as u64, data)?;
        let unanswered = self.shared.lock().receive(&header, data);
        match (unanswered, &mut self.sockets) {
            (Some(ports), Some(sockets)) => sockets.request(&self.shared, &header, ports),
            (Some(ports), None) => self.shared.lock().refuse(&header, ports),
            (None, _) => {}
        }
        Ok(())
    }

    /// Tells the driver in a buffer of its own that all its connections are gone, if it has still to be told.
    fn tell_of_reset(&self, memory: &Memory, chain: &Chain) -> Verdict {
        let room = TRANSPORT_RESET.len() as u64;
        if chain.writable.len() < room {
            return Verdict::Used(0);
        }
        if !self.shared.lock().take_transport_reset() {
            return Verdict::Later;
        }
        match chain.writable.write(memory, 0, &TRANSPORT_RESET) {
            Ok(()) => Verdict::Used(4),
            Err(_) => Verdict::Used(0),
        }
    }

    /// Has the sockets act on what the guest did; returns whether it did anything.
    fn catch_up(&mut self) -> bool {
        let sockets = self.sockets.as_mut();
        sockets.is_some_and(|sockets| sockets.catch_up(&self.shared))
    }

    /// Puts the next packet into a buffer of the driver's.
    fn fill(&mut self, memory: &Memory, chain: &Chain) -> Verdict {
        // A buffer without room for data would hold up a stream of bytes for ever; the driver keeps it.
        let room = chain.writable.len().saturating_sub(HEADER_BYTES as u64);
        let room = usize::try_from(room).map_or(MAX_DATA_BYTES, |room| room.min(MAX_DATA_BYTES));
        if room == 0 {
            return Verdict::Used(0);
        }
        let packet = self.shared.lock().next_packet(room, &mut self.data);
        let Some(header) = packet else {
            return Verdict::Later;
        };
        let written = chain
            .writable
            .write(memory, 0, &header.to_bytes())
            .and_then(|()| {
                chain
                    .writable
                    .write(memory, HEADER_BYTES as u64, &self.data)
            });
        match written {
            Ok(()) => Verdict::Used(u32::try_from(HEADER_BYTES + self.data.len()).unwrap_or(0)),
            Err(_) => Verdict::Used(0),
        }
    }
}

impl Handler for VsockDevice {
    fn activate(&mut self, _features: u64) {}

    fn reset(&mut self) {
        self.shared.lock().reset();
        self.catch_up();
    }

    fn sources(&self) -> Vec<RawFd> {
        let mut sources = vec![self.shared.wake.as_raw_fd()];
        sources.extend(self.sockets.as_ref().map(AsRawFd::as_raw_fd));
        sources
    }

    fn serve(&mut self, event: Event, queues: &mut [ServedQueue]) -> Result<(), QueueError> {
        match (event, &mut self.sockets) {
            (Event::Source(WAKE), _) => drop(self.shared.wake.read()),
            (Event::Source(SOCKETS), Some(sockets)) => sockets.serve(&self.shared),
            _ => {}
        }
        let [receive, transmit, events] = queues else {
            self.catch_up();
            return Ok(());
        };
        if self.shared.lock().owes_transport_reset() {
            events.drain(|memory, chain| self.tell_of_reset(memory, chain))?;
        }
        transmit.drain(|memory, chain| {
            if let Err(error) = self.transmit(memory, chain) {
                tracing::debug!(%error, "dropped a vsock packet");
            }
            Verdict::Used(0)
        })?;
        self.catch_up();
        if self.shared.lock().has_packets() {
            receive.drain(|memory, chain| self.fill(memory, chain))?;
            // What the guest took has made room, and what comes of that may be for the guest.
            if self.catch_up() {
                self.shared.wake_device();
            }
        }
        Ok(())
    }
}
