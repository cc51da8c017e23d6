//! Streams between programs of the host and of the guest.
//!
//! Invariant: a guest reaches the host only by a [`Forward`] that the caller opened, and only its address; at most
//! 128 connections of each are open. When its guest or the `Forward` goes, so do its
//! connections and sockets, and its threads: those that are just connecting, when that ends, after ten seconds to the
//! host or a minute to the guest.

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
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use address::{GuestAddress, HostAddress};
pub(crate) use door::{Door, below};
pub use stream::GuestStream;
pub(crate) use stream::connect;
pub(crate) use to_guest::{forward, serve};
pub(crate) use to_host::forward_to_host;

use crate::command::{Close, Guest};
use crate::error::{Error, Repr};

/// How long to wait after a connection that could not be accepted or passed on: the host may be out of descriptors or
/// threads.
const RETRY: Duration = Duration::from_millis(200);

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
    /// Has `serve` take connections on a thread of its own until `shared` is closed or the guest ends.
    fn start<S: Close + 'static>(
        guest: &Arc<dyn Guest>,
        shared: Arc<S>,
        address: Listening,
        name: &'static str,
        serve: impl FnOnce(Arc<S>) + Send + 'static,
    ) -> Result<Self, Error> {
        let closer = Arc::clone(&shared) as Arc<dyn Close>;
        guest.close_at_end(Arc::downgrade(&closer))?;
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || serve(shared))
            .map_err(|source| Repr::Thread { name, source })?;
        Ok(Self {
            address,
            closer,
            thread: Some(thread),
        })
    }

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
