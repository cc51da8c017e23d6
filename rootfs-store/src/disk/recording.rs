//! Which chunks of its base a disk reads first.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Stack, WritableDisk};

/// Most chunks that are recorded: 4 GiB of those of the usual size.
const MAX_CHUNKS: usize = 1 << 16;

/// A recording, or none.
#[derive(Debug, Default)]
pub(super) struct Recording {
    is_on: AtomicBool,
    chunks: Mutex<Chunks>,
}

#[derive(Debug, Default)]
struct Chunks {
    in_order: Vec<u64>,
    seen: HashSet<u64>,
}

impl WritableDisk {
    /// Begins to record which chunks of the base are read, from nothing.
    pub fn start_recording(&self) {
        self.take_recording();
        self.recording.is_on.store(true, Ordering::Relaxed);
    }

    /// Ends a recording; returns the numbers of the chunks that were read, each once, in the order of their first
    /// reads. Those that are all zero are not among them, and no more than 65,536.
    pub fn take_recording(&self) -> Vec<u64> {
        self.recording.is_on.store(false, Ordering::Relaxed);
        let chunks = self.recording.chunks.lock();
        let mut chunks = chunks.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *chunks).in_order
    }

    /// Takes down what a read of these bytes took from the base, if there is a recording.
    pub(super) fn record(&self, stack: &Stack, bytes: Range<u64>) {
        if !self.recording.is_on.load(Ordering::Relaxed) {
            return;
        }
        let index = stack.base.index;
        for chunk in stack.base_chunks(bytes) {
            // What was just read is found without reading anything.
            let is_stored = matches!(index.get(&self.store.source, chunk), Ok(Some(_)));
            let chunks = self.recording.chunks.lock();
            let mut chunks = chunks.unwrap_or_else(PoisonError::into_inner);
            if is_stored && chunks.in_order.len() < MAX_CHUNKS && chunks.seen.insert(chunk) {
                chunks.in_order.push(chunk);
            }
        }
    }
}
