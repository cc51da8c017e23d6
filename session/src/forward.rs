//! Streams between programs of the host and of the guest.
//!
//! Invariant: a guest reaches the host only by a [`Forward`] that the caller opened, and only its address; at most
//! 128 connections of each are open. When its guest or the `Forward` goes, so do its threads,
//! connections and sockets.

mod address;
mod door;
mod open;
mod socket;
mod splice;
mod stream;
#[cfg(test)]
mod tests;
mod to_guest;
mod to_host;

use std::sync::Arc;
use std::thread::JoinHandle;

pub use address::{GuestAddress, HostAddress};
pub(crate) use door::{Door, below};
pub use stream::GuestStream;
pub(crate) use stream::connect;
pub(crate) use to_guest::{forward, serve};
pub(crate) use to_host::forward_to_host;

use crate::command::Close;

/// Connections that are passed on for as long as this lives, and its guest.
#[derive(Debug)]
pub struct Forward {
    address: Listening,
    closer: Arc<dyn Close>,
    thread: Option<JoinHandle<()>>,
}

/// Where a forward takes connections.
#[derive(Debug)]
enum Listening {
    Host(HostAddress),
    Guest(GuestAddress),
}

impl Forward {
    /// Where the host takes connections: with the port that it was given, if any would do. `None` for a forward whose
    /// connections come from the guest.
    #[must_use]
    pub fn address(&self) -> Option<&HostAddress> {
        match &self.address {
            Listening::Host(address) => Some(address),
            Listening::Guest(_) => None,
        }
    }

    /// Where the guest takes connections, as it says. `None` for a forward whose connections come from the host.
    #[must_use]
    pub fn guest_address(&self) -> Option<&GuestAddress> {
        match &self.address {
            Listening::Host(_) => None,
            Listening::Guest(address) => Some(address),
        }
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.closer.close();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            drop(thread.join());
        }
    }
}
