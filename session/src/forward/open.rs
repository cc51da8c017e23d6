//! The connections of a forward that are open.
//!
//! Invariant: once it is closed, none is open, and none is added.

use std::collections::HashMap;
use std::net::Shutdown;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use agent::protocol::MAX_FORWARDED;

use super::GuestStream;
use super::socket::Socket;

#[derive(Debug, Default)]
pub(super) struct Open {
    state: Mutex<State>,
    /// Notified when one ends, or all do.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_closed: bool,
    next: u64,
    connections: HashMap<u64, Ends>,
}

/// Handles to end a connection by.
#[derive(Debug, Default)]
struct Ends {
    socket: Option<Arc<Socket>>,
    guest: Option<GuestStream>,
}

impl Ends {
    fn break_off(&self) {
        if let Some(socket) = &self.socket {
            socket.shutdown(Shutdown::Both);
        }
        if let Some(guest) = &self.guest {
            guest.abort();
        }
    }
}

impl Open {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place; `None` once it is closed.
    pub(super) fn place(self: &Arc<Self>) -> Option<Place> {
        let is_full =
            |state: &mut State| !state.is_closed && state.connections.len() >= MAX_FORWARDED;
        let mut state = self
            .changed
            .wait_while(self.state(), is_full)
            .unwrap_or_else(PoisonError::into_inner);
        if state.is_closed {
            return None;
        }
        let number = state.next;
        state.next += 1;
        state.connections.insert(number, Ends::default());
        drop(state);
        Some(Place {
            open: Arc::clone(self),
            number,
        })
    }

    /// Breaks all connections off.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.connections.values().for_each(Ends::break_off);
        drop(state);
        self.changed.notify_all();
    }
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    open: Arc<Open>,
    number: u64,
}

impl Place {
    /// The host's end of the connection; it is broken off at once if that is too late.
    pub(super) fn has_socket(&self, socket: Arc<Socket>) {
        self.add(|ends| ends.socket = Some(socket));
    }

    /// The guest's end.
    pub(super) fn has_guest(&self, guest: GuestStream) {
        self.add(|ends| ends.guest = Some(guest));
    }

    fn add(&self, add: impl FnOnce(&mut Ends)) {
        let mut state = self.open.state();
        let is_closed = state.is_closed;
        let ends = state.connections.entry(self.number).or_default();
        add(ends);
        if is_closed {
            ends.break_off();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.state().connections.remove(&self.number);
        self.open.changed.notify_all();
    }
}
