//! Whether what a thread transfers is still wanted.
//!
//! Connections are pooled, so they can't know whose transfer they serve; but a call blocks its thread until it has
//! ended. What is wanted is therefore known by thread.
//!
//! Invariant: whoever waits for a registry looks every [`SLICE`] whether it is still wanted.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long nobody looks, at most.
pub(crate) const SLICE: Duration = Duration::from_millis(100);

thread_local! {
    /// Of the innermost transfer last.
    static TRANSFERS: RefCell<Vec<Wanted>> = const { RefCell::new(Vec::new()) };
}

/// A transfer of several threads that ends for all of them at once. Clones are the same transfer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    has_ended: Arc<AtomicBool>,
}

impl Wanted {
    /// Nobody wants the transfer any more.
    pub(crate) fn end(&self) {
        // What led to it is seen by who sees it.
        self.has_ended.store(true, Ordering::Release);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// Does a part of the transfer, whose requests fail soon after its end. A panic in it ends the transfer.
    pub(crate) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        TRANSFERS.with_borrow_mut(|transfers| transfers.push(self.clone()));
        let _leaves = Leaves(self);
        work()
    }

    /// Ends the transfer when it is dropped.
    pub(crate) fn ends(&self) -> Ends<'_> {
        Ends(self)
    }
}

struct Leaves<'a>(&'a Wanted);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        TRANSFERS.with_borrow_mut(Vec::pop);
        if thread::panicking() {
            self.0.end();
        }
    }
}

/// See [`Wanted::ends`].
#[derive(Debug)]
pub(crate) struct Ends<'a>(&'a Wanted);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Whether all transfers that this thread is in are still wanted.
pub(crate) fn is_wanted() -> bool {
    TRANSFERS.with_borrow(|transfers| !transfers.iter().any(Wanted::has_ended))
}

/// Sleeps for as long as that is wanted.
pub(crate) fn sleep(time: Duration) {
    let begun = Instant::now();
    while is_wanted() {
        match time.checked_sub(begun.elapsed()) {
            Some(left) if !left.is_zero() => thread::sleep(left.min(SLICE)),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests;
