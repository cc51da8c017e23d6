//! What it takes to pass a connection's bytes on to a socket without blocking.

use super::{Connection, SEND_BYTES, State};

impl Connection {
    /// The host's socket for this connection is told of the guest's doings.
    pub(in crate::vsock) fn watched(mut self) -> Self {
        self.watched = true;
        self
    }

    /// Bytes from the guest that come next; empty if there are none.
    pub(in crate::vsock) fn unread(&self) -> &[u8] {
        self.received.as_slices().0
    }

    /// Takes the first `count` of what came off the buffer.
    pub(in crate::vsock) fn consume(&mut self, count: usize) {
        let count = count.min(self.received.len());
        self.received.drain(..count);
        self.count_taken(count);
    }

    /// How many bytes there is room for on the way to the guest.
    pub(in crate::vsock) fn room(&self) -> usize {
        SEND_BYTES - self.unsent.len()
    }

    /// Whether the guest, or a reset, has put an end to what goes to the guest.
    pub(in crate::vsock) fn is_closed_to_guest(&self) -> bool {
        self.state == State::Reset || self.guest_receives_no_more
    }
}
