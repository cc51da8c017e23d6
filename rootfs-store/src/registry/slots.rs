//! How many requests are under way at once, by host.
//!
//! Invariant: no more than the limit; a slot is given back when it is dropped, whatever becomes of its request.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::url::Origin;

/// Slots for requests.
#[derive(Debug)]
pub(crate) struct Slots {
    limit: usize,
    taken: Mutex<HashMap<Origin, usize>>,
    freed: Condvar,
}

/// The right to have one request under way.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    origin: Origin,
}

impl Slots {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            taken: Mutex::new(HashMap::new()),
            freed: Condvar::new(),
        }
    }

    /// Waits for a slot.
    pub(crate) fn take(self: &Arc<Self>, origin: &Origin) -> Slot {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let count = taken.entry(origin.clone()).or_default();
            if *count < self.limit {
                *count += 1;
                return Slot {
                    slots: Arc::clone(self),
                    origin: origin.clone(),
                };
            }
            taken = self
                .freed
                .wait(taken)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let slots = &self.slots;
        let mut taken = slots.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.origin) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.origin);
            }
        }
        drop(taken);
        // Those who wait may wait for other hosts.
        slots.freed.notify_all();
    }
}

#[cfg(test)]
mod tests;
