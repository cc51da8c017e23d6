//! Hashing a pack's file from its start to its end while it is being filled.

use std::ops::Range;
use std::sync::{Condvar, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::super::cache::CacheFile;
use super::super::ranges::Ranges;
use crate::digest::BlobDigest;

/// Bytes that are hashed at a time.
const PIECE_BYTES: usize = 1 << 20;

/// What is there of a file that is being filled.
#[derive(Debug)]
pub(super) struct Arrivals {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    there: Ranges,
    /// Nothing more will come.
    is_over: bool,
}

/// Says when it is dropped that nothing more will come.
pub(super) struct Ending<'a>(pub(super) &'a Arrivals);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Arrivals {
    pub(super) fn new(there: Ranges) -> Self {
        let state = State {
            there,
            is_over: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    pub(super) fn add(&self, range: Range<u64>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.there.insert(range);
        self.changed.notify_one();
    }

    fn end(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_over = true;
        self.changed.notify_one();
    }

    /// The end of what is there from `at` on; nothing if that will never come.
    fn wait(&self, at: u64) -> Option<u64> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_missing = |state: &mut State| !state.is_over && state.there.end_from(at).is_none();
        let state = self.changed.wait_while(state, is_missing);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        state.there.end_from(at)
    }

    /// The digest of a file of `bytes`, as they come; nothing if they don't all.
    pub(super) fn hash(&self, file: &CacheFile, bytes: u64) -> std::io::Result<Option<BlobDigest>> {
        let (mut hasher, mut buffer) = (Sha256::new(), vec![0; PIECE_BYTES]);
        let mut at = 0;
        while at < bytes {
            let Some(end) = self.wait(at) else {
                return Ok(None);
            };
            while at < end {
                let len = usize::try_from(end - at).map_or(PIECE_BYTES, |len| len.min(PIECE_BYTES));
                file.read(&mut buffer[..len], at)?;
                hasher.update(&buffer[..len]);
                at += len as u64;
            }
        }
        Ok(Some(BlobDigest::from_bytes(hasher.finalize().into())))
    }
}
