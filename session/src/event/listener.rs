//! The thread on which a session's owner is told of its events.
//!
//! Invariant: whoever tells of an event waits for nobody, and the owner hears of events in their order. A device's thread,
//! which may tell of one, makes only the system calls that its filter lets pass.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::Event;
use crate::error::{Error, Repr};

/// How many events wait for an owner that is still busy with an earlier one, before further ones are lost.
const MAX_WAITING: usize = 1024;
/// How many may wait where another one tells of trouble that comes again and again: the rest is for how the session ends.
const MAX_TROUBLE: usize = MAX_WAITING / 2;

/// Who is told.
pub(crate) type Listener = Box<dyn FnMut(&Event) + Send>;

/// The way to whoever wants to be told, if somebody does. The thread ends with this.
#[derive(Default)]
pub(crate) struct Events(Option<Sender<Event>>);

impl Events {
    /// Starts the thread that calls `listener`.
    pub(crate) fn to(listener: Listener) -> Result<Self, Error> {
        let name = "session-events";
        let (sender, events) = bounded(MAX_WAITING);
        let thread = thread::Builder::new().name(name.to_owned());
        let started = thread.spawn(move || deliver(&events, listener));
        started
            .map(|_detached| Self(Some(sender)))
            .map_err(|source| Repr::Thread { name, source }.into())
    }

    /// Tells of an event, soon.
    pub(crate) fn tell(&self, event: Event) {
        let Some(sender) = &self.0 else {
            return;
        };
        let told = match event.is_trouble() && sender.len() >= MAX_TROUBLE {
            true => Err(TrySendError::Full(event)),
            false => sender.try_send(event),
        };
        // The thread does not end before this does.
        if let Err(error) = told {
            let event = error.into_inner();
            tracing::error!(
                ?event,
                "who listens for a session's events is too slow, and misses one"
            );
        }
    }
}

/// Calls `listener` with each event, until nobody can tell of another one.
fn deliver(events: &Receiver<Event>, mut listener: Listener) {
    for event in events {
        if catch_unwind(AssertUnwindSafe(|| listener(&event))).is_err() {
            tracing::error!(?event, "who listens for a session's events panicked");
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Events").field(&self.0.is_some()).finish()
    }
}

#[cfg(test)]
mod tests;
