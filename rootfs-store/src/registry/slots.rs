//! How many requests are under way at once, by host.
//!
//! Invariant: no more than the limit, and of streams that nobody waits for no more than leave a quarter of it (at least
//! one slot, unless there is only one) to reads that somebody waits for. A slot is given back when it is dropped,
//! whatever becomes of its request.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::url::Origin;
use super::wanted::{SLICE, is_wanted};

/// The part of the slots that is kept for urgent requests.
const URGENT_SHARE: usize = 4;
/// How long an urgent request waits for a slot. Whoever sent it may try again, or ask another registry.
const URGENT_WAIT: Duration = Duration::from_secs(10);

/// Slots for requests.
#[derive(Debug)]
pub(crate) struct Slots {
    limit: usize,
    /// Those that may be taken at once by requests that are not urgent.
    background_limit: usize,
    urgent_wait: Duration,
    taken: Mutex<HashMap<Origin, Taken>>,
    freed: Condvar,
}

/// Slots of one host that are taken.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    background: usize,
}

/// Whether somebody waits for a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// What is sent or fetched as a whole, which takes as long as it takes.
    #[default]
    Background,
    /// A guest, for what it reads or will read next.
    Urgent,
}

/// The right to have one request under way.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    origin: Origin,
    urgency: Urgency,
}

/// Why there is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoSlot {
    /// None got free for an urgent request in time.
    Busy { waited: Duration },
    /// The request is not wanted any more.
    Unwanted,
}

impl Slots {
    pub(crate) fn new(limit: usize) -> Self {
        let limit = limit.max(1);
        let kept = match limit {
            1 => 0,
            _ => (limit / URGENT_SHARE).max(1),
        };
        Self {
            limit,
            background_limit: limit - kept,
            urgent_wait: URGENT_WAIT,
            taken: Mutex::new(HashMap::new()),
            freed: Condvar::new(),
        }
    }

    /// Waits for a slot, for as long as it is wanted; an urgent request does not wait long.
    pub(crate) fn take(
        self: &Arc<Self>,
        origin: &Origin,
        urgency: Urgency,
    ) -> Result<Slot, NoSlot> {
        let begun = Instant::now();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while self.is_full(&taken, origin, urgency) {
            let waited = begun.elapsed();
            if !is_wanted() {
                return Err(NoSlot::Unwanted);
            }
            if urgency == Urgency::Urgent && waited >= self.urgent_wait {
                return Err(NoSlot::Busy { waited });
            }
            let slept = self.freed.wait_timeout(taken, SLICE);
            (taken, _) = slept.unwrap_or_else(PoisonError::into_inner);
        }
        let count = taken.entry(origin.clone()).or_default();
        count.all += 1;
        count.background += usize::from(urgency == Urgency::Background);
        drop(taken);
        Ok(Slot {
            slots: Arc::clone(self),
            origin: origin.clone(),
            urgency,
        })
    }

    fn is_full(&self, taken: &HashMap<Origin, Taken>, origin: &Origin, urgency: Urgency) -> bool {
        let is_background = urgency == Urgency::Background;
        taken.get(origin).is_some_and(|taken| {
            taken.all >= self.limit || is_background && taken.background >= self.background_limit
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let slots = &self.slots;
        let mut taken = slots.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.origin) {
            count.all -= 1;
            count.background -= usize::from(self.urgency == Urgency::Background);
            if count.all == 0 {
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
