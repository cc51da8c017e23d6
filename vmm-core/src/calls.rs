//! Calls of the embedder's backends, and which of them take long.
//!
//! A device's thread counts each call before and after; the supervisor looks at the counts. Invariant: while a
//! call is under way, or one ended since the last look, another look is due within [`LOOK_INTERVAL`]; a VM
//! whose backends rest wakes nobody.

mod backends;

pub(crate) use backends::{CountedDisk, CountedNet};

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::event::{Backend, CALL_PATIENCE, Event};

/// The time between two looks: how much later than [`CALL_PATIENCE`] a call may be told of.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What wakes who looks at the counts.
struct Alarm {
    /// Whether that is awake already.
    is_awake: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// The calls that one thread makes.
pub(crate) struct Calls {
    thread: String,
    /// Of beginnings and ends: odd while a call is under way.
    count: AtomicU64,
    alarm: Arc<Alarm>,
}

impl Calls {
    /// Makes a call, which counts. If it unwinds, it counts as one that goes on; but its thread, and with that
    /// the run, ends.
    fn make<T>(&self, call: impl FnOnce() -> T) -> T {
        // The order of this and of what follows is the opposite of that in `SlowCalls::rest`, so that one of both
        // sides sees the other.
        self.count.fetch_add(1, Ordering::SeqCst);
        if !self.alarm.is_awake.load(Ordering::SeqCst) {
            self.wake();
        }
        let answer = call();
        self.count.fetch_add(1, Ordering::SeqCst);
        answer
    }

    #[cold]
    fn wake(&self) {
        if !self.alarm.is_awake.swap(true, Ordering::SeqCst) {
            (self.alarm.wake)();
        }
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls")
            .field("thread", &self.thread)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// Finds the calls that take long.
pub(crate) struct SlowCalls {
    alarm: Arc<Alarm>,
    threads: Vec<Watched>,
}

struct Watched {
    calls: Arc<Calls>,
    backend: Backend,
    /// What was counted at the last look, and when that was first seen.
    count: u64,
    since: Instant,
    is_told: bool,
}

impl SlowCalls {
    /// Knows of no thread yet; `wake` is called when there is something to [look](Self::look) at.
    pub(crate) fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            alarm: Arc::new(Alarm {
                is_awake: AtomicBool::new(false),
                wake: Box::new(wake),
            }),
            threads: Vec::new(),
        }
    }

    /// The calls of one more thread, all of them to `backend`.
    pub(crate) fn of_thread(&mut self, name: String, backend: Backend) -> Arc<Calls> {
        let calls = Arc::new(Calls {
            thread: name,
            count: AtomicU64::new(0),
            alarm: Arc::clone(&self.alarm),
        });
        self.threads.push(Watched {
            calls: Arc::clone(&calls),
            backend,
            count: 0,
            since: Instant::now(),
            is_told: false,
        });
        calls
    }

    /// When to look again, if it is `now`; `None`: when woken.
    pub(crate) fn next_look(&self, now: Instant) -> Option<Instant> {
        let is_awake = self.alarm.is_awake.load(Ordering::SeqCst);
        is_awake.then(|| now + LOOK_INTERVAL)
    }

    /// Looks at the calls of all threads; returns what the owner is to be told.
    pub(crate) fn look(&mut self, now: Instant) -> Vec<Event> {
        if !self.alarm.is_awake.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let mut events = Vec::new();
        let mut all_rest = true;
        for thread in &mut self.threads {
            all_rest &= thread.look(now);
            events.extend(thread.news(now));
        }
        if all_rest {
            self.rest();
        }
        events
    }

    /// Looks no more, unless a call has begun meanwhile.
    fn rest(&self) {
        self.alarm.is_awake.store(false, Ordering::SeqCst);
        if self.threads.iter().any(Watched::has_moved) {
            self.alarm.is_awake.store(true, Ordering::SeqCst);
        }
    }
}

impl Watched {
    /// Takes note of what the thread has done; returns whether that is nothing.
    fn look(&mut self, now: Instant) -> bool {
        let count = self.calls.count.load(Ordering::SeqCst);
        let rests = count == self.count && !is_under_way(count);
        if count != self.count {
            (self.count, self.since, self.is_told) = (count, now, false);
        }
        rests
    }

    /// What is to be told of the call that is under way.
    fn news(&mut self, now: Instant) -> Option<Event> {
        let elapsed = now.saturating_duration_since(self.since);
        if !is_under_way(self.count) || elapsed < CALL_PATIENCE || self.is_told {
            return None;
        }
        self.is_told = true;
        let thread = self.calls.thread.clone();
        tracing::warn!(thread, ?elapsed, "a call to a backend has not returned");
        Some(Event::BackendSlow {
            backend: self.backend,
            thread,
            elapsed,
        })
    }

    fn has_moved(&self) -> bool {
        self.calls.count.load(Ordering::SeqCst) != self.count
    }
}

fn is_under_way(count: u64) -> bool {
    count % 2 == 1
}

impl fmt::Debug for SlowCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlowCalls")
            .field("threads", &self.threads.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
