//! Threads that don't end when they should, because the embedder's code does not return.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use super::control::KICK_INTERVAL;
use crate::event::{Event, Events, STOP_PATIENCE};

/// Pauses between looks whether a thread has ended: short at first, as most end at once.
const FIRST_PAUSE: Duration = Duration::from_micros(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// What the owner knows the writer of guest memory by.
const COPY: &str = "copy_memory";

/// Tells the VM's owner of threads that take long.
pub(super) struct Laggards<'a> {
    events: &'a Events,
    due: Instant,
    told: Vec<ThreadId>,
    told_of_copy: bool,
}

impl<'a> Laggards<'a> {
    /// Begins the time that threads have.
    pub(super) fn new(events: &'a Events) -> Self {
        Self {
            events,
            due: Instant::now() + STOP_PATIENCE,
            told: Vec::new(),
            told_of_copy: false,
        }
    }

    /// Begins it anew, for those that could not end while others were waited for.
    pub(super) fn begin_anew(&mut self) {
        self.due = Instant::now() + STOP_PATIENCE;
    }

    /// Whether the time is over.
    pub(super) fn are_late(&self) -> bool {
        Instant::now() >= self.due
    }

    /// Tells of those of `threads` that still run, if the time is over.
    pub(super) fn tell(&mut self, threads: &[JoinHandle<()>]) {
        if !self.are_late() {
            return;
        }
        for thread in threads.iter().filter(|thread| !thread.is_finished()) {
            let thread = thread.thread();
            if self.told.contains(&thread.id()) {
                continue;
            }
            self.told.push(thread.id());
            self.tell_of(thread.name().unwrap_or_default());
        }
    }

    /// Waits a moment for the writer of guest memory, and tells of it if the time is over.
    pub(super) fn wait_for_copy(&mut self) {
        if self.are_late() && !std::mem::replace(&mut self.told_of_copy, true) {
            self.tell_of(COPY);
        }
        std::thread::sleep(KICK_INTERVAL);
    }

    fn tell_of(&self, thread: &str) {
        tracing::warn!(thread, "a VM's end waits for the embedder's code");
        let thread = thread.to_owned();
        let tell = || self.events.tell(Event::StopDelayed { thread });
        if catch_unwind(AssertUnwindSafe(tell)).is_err() {
            tracing::error!("the owner of a VM panicked when its end was delayed");
        }
    }

    /// Waits for all of `threads`. One that panicked has reported that through its guard.
    pub(super) fn join(mut self, threads: Vec<JoinHandle<()>>) {
        let mut pause = FIRST_PAUSE;
        while threads.iter().any(|thread| !thread.is_finished()) {
            self.tell(&threads);
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        for thread in threads {
            let _panic_is_reported = thread.join();
        }
    }
}
