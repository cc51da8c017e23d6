//! The cache file of a pack as a whole: filled, checked, and made a blob of.

use std::io;
use std::ops::Range;
use std::sync::{Arc, PoisonError};

use super::super::RemoteError;
use super::super::cache::CacheFile;
use super::super::ranges::Ranges;
use super::RemotePack;
use crate::blobs::io_error;
use crate::chunk::{self, MAX_CHUNK_BYTES};
use crate::pack::read_table;
use crate::registry::{SLICE, is_wanted};
use crate::store::StoreError;

impl RemotePack {
    /// What is here of it.
    pub(in super::super) fn here(&self) -> Ranges {
        self.lock().here.clone()
    }

    /// How many reads have written to the cache file.
    pub(in super::super) fn landed(&self) -> u64 {
        self.lock().landed
    }

    /// Counts bytes as here that were written to the cache file, and lets those go on who wait for them.
    pub(in super::super) fn arrive(&self, range: Range<u64>) {
        let mut state = self.lock();
        state.here.insert(range);
        self.changed.notify_all();
    }

    /// The cache file, which a fill can't do without.
    pub(in super::super) fn cache_to_fill(&self) -> Result<Arc<CacheFile>, StoreError> {
        let mut state = self.lock();
        if let Some(cache) = &state.cache {
            return Ok(Arc::clone(cache));
        }
        let opened = self.access.open_cache(&self.cache_path, self.bytes);
        let (cache, here) = opened.map_err(|error| self.cache_error("open", error))?;
        let cache = Arc::new(cache);
        state.cache = Some(Arc::clone(&cache));
        state.here = here;
        Ok(cache)
    }

    /// Waits for those who write to the cache file, and lets nobody do so from then on; unless it is not wanted any
    /// more.
    pub(in super::super) fn seal(&self) -> Result<Arc<CacheFile>, StoreError> {
        let cache = self.cache_to_fill()?;
        let mut state = self.lock();
        state.is_sealed = true;
        while !state.flights.is_empty() {
            if !is_wanted() {
                state.is_sealed = false;
                return Err(RemoteError::Cancelled.into());
            }
            let waited = self.changed.wait_timeout(state, SLICE);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        Ok(cache)
    }

    /// Takes that back, as no blob was made of the file.
    pub(in super::super) fn unseal(&self, cache: &CacheFile) {
        let is_in_place = cache.release().unwrap_or_else(|error| {
            tracing::warn!(pack = %self.digest, %error, "can't lock what was fetched");
            false
        });
        let mut state = self.lock();
        state.is_sealed = false;
        if !is_in_place {
            // Another one may have made a blob of it, or removed it.
            state.cache = None;
            state.here = Ranges::default();
        }
    }

    /// Forgets those frames that are not what the pack's table says; all bytes if that does not help.
    pub(in super::super) fn forget_damaged(&self) -> Result<(), StoreError> {
        let cache = self.cache_to_fill()?;
        let table = read_table(cache.get(), self.bytes);
        let table = table.map_err(|error| self.cache_error("read", error))?;
        let mut is_damaged = false;
        for entry in table.map_or(Vec::new(), |table| table.entries) {
            let range = entry.offset..entry.offset + u64::from(entry.len);
            let frame = cache.read_range(&range);
            let frame = frame.map_err(|error| self.cache_error("read", error))?;
            if chunk::decode(&entry.digest, &frame, MAX_CHUNK_BYTES as usize).is_err() {
                self.forget(&range);
                is_damaged = true;
            }
        }
        if !is_damaged {
            self.forget(&(0..self.bytes));
        }
        Ok(())
    }

    pub(in super::super) fn cache_error(
        &self,
        action: &'static str,
        error: io::Error,
    ) -> StoreError {
        io_error(action, &self.cache_path)(error)
    }
}
