//! The thread on which a session's owner is told of its events.
//!
//! Invariant: whoever tells of an event waits for nobody, and the owner hears of events in their order. A device's thread,
//! which may tell of one, makes only the system calls that its filter lets pass.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

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
pub(crate) struct Events(Option<Queue>);

struct Queue {
    sender: SyncSender<Event>,
    waiting: Arc<AtomicUsize>,
}

impl Events {
    /// Starts the thread that calls `listener`.
    pub(crate) fn to(listener: Listener) -> Result<Self, Error> {
        let name = "session-events";
        let (sender, events) = sync_channel(MAX_WAITING);
        let thread = thread::Builder::new().name(name.to_owned());
        let waiting = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&waiting);
        let started = thread.spawn(move || deliver(&events, &counted, listener));
        started
            .map(|_detached| Self(Some(Queue { sender, waiting })))
            .map_err(|source| Repr::Thread { name, source }.into())
    }

    /// Tells of an event, soon.
    pub(crate) fn tell(&self, event: Event) {
        if let Some(queue) = &self.0
            && let Err(event) = queue.put(event)
        {
            tracing::error!(
                ?event,
                "who listens for a session's events is too slow, and misses one"
            );
        }
    }
}

impl Queue {
    /// Gives the event back if there is no room for it.
    fn put(&self, event: Event) -> Result<(), Event> {
        // Counted first, so that the thread never counts below zero.
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let put = match event.is_trouble() && before >= MAX_TROUBLE {
            true => Err(event),
            false => self.sender.try_send(event).map_err(|error| match error {
                // The thread ends after this does.
                TrySendError::Full(event) | TrySendError::Disconnected(event) => event,
            }),
        };
        if put.is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        put
    }
}

/// Calls `listener` with each event, until nobody can tell of another one.
fn deliver(events: &Receiver<Event>, waiting: &AtomicUsize, mut listener: Listener) {
    for event in events {
        waiting.fetch_sub(1, Ordering::Relaxed);
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
