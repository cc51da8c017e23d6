//! Which port an address was heard from.
//!
//! Invariant: no port has more than [`MAX_ADDRESSES`] entries, so that a guest that makes addresses up takes no
//! room from others. An address is where it was heard last: a guest that uses another's gets its frames until
//! that one is heard again.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::{MULTICAST, Mac};

/// The most addresses behind one port. The one that was learned first makes room for a new one.
pub(super) const MAX_ADDRESSES: usize = 64;
/// How long an address is remembered that is not heard from (IEEE 802.1D's recommendation).
pub(super) const AGE: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub(super) struct Table {
    entries: HashMap<Mac, Entry>,
    /// Each port's addresses in the order that they were learned.
    learned: HashMap<u32, VecDeque<Mac>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    port: u32,
    heard: Instant,
}

impl Table {
    /// Takes note that `source` is behind `port`.
    pub(super) fn learn(&mut self, source: Mac, port: u32, now: Instant) {
        if source[0] & MULTICAST != 0 {
            return;
        }
        let before = self.entries.insert(source, Entry { port, heard: now });
        let before = before.map(|entry| entry.port);
        if before == Some(port) {
            return;
        }
        if let Some(list) = before.and_then(|port| self.learned.get_mut(&port)) {
            list.retain(|mac| *mac != source);
        }
        let list = self.learned.entry(port).or_default();
        if list.len() == MAX_ADDRESSES
            && let Some(oldest) = list.pop_front()
        {
            self.entries.remove(&oldest);
        }
        list.push_back(source);
    }

    /// The port behind which `target` is, if that is known.
    pub(super) fn find(&self, target: Mac, now: Instant) -> Option<u32> {
        let entry = self.entries.get(&target)?;
        (now.saturating_duration_since(entry.heard) < AGE).then_some(entry.port)
    }

    /// Forgets a port that has left.
    pub(super) fn forget(&mut self, port: u32) {
        for mac in self.learned.remove(&port).unwrap_or_default() {
            self.entries.remove(&mac);
        }
    }
}
