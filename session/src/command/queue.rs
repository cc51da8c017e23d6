//! The way of a process's output from the thread that hears it to whoever reads it.
//!
//! Invariant: no more than [`QUEUED`] pieces wait to be read; then the sender waits, and with it the guest's command,
//! until the reader reads or is gone, or the queue is cut off.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How many pieces of output, of 64 KiB or less as [`Running::next`](super::Running::next) sees to, wait for each reader.
const QUEUED: usize = 16;

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pieces: VecDeque<Vec<u8>>,
    /// Nothing more comes.
    is_ended: bool,
    /// Nothing more is wanted.
    is_closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        while_it: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        self.changed
            .wait_while(state, |state| while_it(state))
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

/// A queue from a sender to a reader.
pub(super) fn queue() -> (Sender, ProcessOutput) {
    let queue = Arc::new(Queue::default());
    let output = ProcessOutput {
        queue: Arc::clone(&queue),
        current: Vec::new(),
        used: 0,
    };
    (Sender(queue), output)
}

/// The end that output is put in. Dropping it is the end of the output.
#[derive(Debug)]
pub(super) struct Sender(Arc<Queue>);

impl Sender {
    /// Puts a piece in, once there is room. Drops it if nobody wants it.
    pub(super) fn send(&self, piece: Vec<u8>) {
        let is_full = |state: &State| state.pieces.len() >= QUEUED && !state.is_closed;
        let mut state = self.0.wait(self.0.lock(), is_full);
        if !state.is_closed {
            state.pieces.push_back(piece);
            self.0.changed.notify_all();
        }
    }

    /// What cuts the queue off.
    pub(super) fn cutter(&self) -> Cutter {
        Cutter(Arc::clone(&self.0))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.change(|state| state.is_ended = true);
    }
}

/// Lets a sender that waits for a reader go on, for nothing.
#[derive(Debug, Clone)]
pub(super) struct Cutter(Arc<Queue>);

impl Cutter {
    pub(super) fn cut(&self) {
        self.0.change(|state| state.is_closed = true);
    }
}

/// One of the streams that a process writes. It ends when the process does, or its guest.
#[derive(Debug)]
pub struct ProcessOutput {
    queue: Arc<Queue>,
    current: Vec<u8>,
    used: usize,
}

impl Read for ProcessOutput {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.used == self.current.len() {
            let is_empty = |state: &State| state.pieces.is_empty() && !state.is_ended;
            let mut state = self.queue.wait(self.queue.lock(), is_empty);
            match state.pieces.pop_front() {
                Some(piece) => (self.current, self.used) = (piece, 0),
                None => return Ok(0),
            }
            self.queue.changed.notify_all();
        }
        let count = buf.len().min(self.current.len() - self.used);
        buf[..count].copy_from_slice(&self.current[self.used..self.used + count]);
        self.used += count;
        Ok(count)
    }
}

impl Drop for ProcessOutput {
    fn drop(&mut self) {
        self.queue.change(|state| {
            state.is_closed = true;
            state.pieces.clear();
        });
    }
}
