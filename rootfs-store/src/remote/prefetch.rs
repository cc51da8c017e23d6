//! Fetching what will be read soon, with few requests.

mod plan;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::crew::work_together;
use super::{RemoteError, RemotePack};
use crate::digest::{BlobDigest, SnapshotDigest};
use crate::index::{Index, PackRef};
use crate::progress::{Progress, Stage};
use crate::registry::Wanted;
use crate::store::{Store, StoreError};
use plan::{Want, plan};

/// Requests that are under way at a time.
const FETCHES_AT_ONCE: usize = 4;

/// What a prefetch did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prefetched {
    /// Chunks that were not here.
    pub chunks: u64,
    /// Ranges that were fetched.
    pub ranges: u64,
    /// Bytes of these.
    pub bytes: u64,
}

impl Store {
    /// Fetches those of a snapshot's chunks that are not here, given by their numbers, the most urgent first: with few
    /// requests, of which several are under way at a time.
    ///
    /// Numbers past the end of the disk, and of chunks that are all zero, are passed over.
    ///
    /// # Errors
    /// [`StoreError`], with [`RemoteError::Cancelled`] soon after `is_cancelled`, which is asked now and then, has said
    /// yes; what was fetched before stays.
    pub fn prefetch(
        &self,
        snapshot: &SnapshotDigest,
        chunks: &[u64],
        is_cancelled: &(dyn Fn() -> bool + Sync),
        progress: &dyn Progress,
    ) -> Result<Prefetched, StoreError> {
        let (_lease, snapshot) = self.to_read(snapshot)?;
        let planned = Mutex::new(Ok(Planned::default()));
        // It reads index pages, which may be elsewhere, too.
        let look_up = || {
            let found = self.look_up(&snapshot.index(), chunks);
            *planned.lock().unwrap_or_else(PoisonError::into_inner) = found;
        };
        work_together("prefetch", 1, &Wanted::default(), is_cancelled, &look_up);
        let planned = planned.into_inner().unwrap_or_else(PoisonError::into_inner);
        let done = planned.and_then(|planned| {
            let bytes = |range: &Range<u64>| range.end - range.start;
            let ranges = plan(&planned.wants);
            let prefetched = Prefetched {
                chunks: planned.wants.len() as u64,
                ranges: ranges.len() as u64,
                bytes: ranges.iter().map(|want| bytes(&want.range)).sum(),
            };
            fetch_all(
                &ranges,
                &planned.packs,
                prefetched.bytes,
                is_cancelled,
                progress,
            )?;
            Ok(prefetched)
        });
        match done {
            Err(_) if is_cancelled() => Err(RemoteError::Cancelled.into()),
            done => done,
        }
    }

    /// Where those of the chunks are that are elsewhere.
    fn look_up(&self, index: &Index, chunks: &[u64]) -> Result<Planned, StoreError> {
        let source = &self.inner.source;
        let mut planned = Planned::default();
        for number in chunks.iter().filter(|number| **number < index.chunks) {
            let Some(at) = index.get(source, *number)? else {
                continue;
            };
            let PackRef::Complete(digest) = at.pack else {
                continue;
            };
            let pack = match planned.packs.get(&digest) {
                Some(known) => known.clone(),
                None => {
                    let pack = source.elsewhere(&digest)?;
                    planned.packs.insert(digest, pack.clone());
                    pack
                }
            };
            let range = at.offset..at.offset.saturating_add(u64::from(at.len));
            // What is wrong with other ranges is for their readers to see.
            let is_missing =
                |pack: Arc<RemotePack>| range.end <= pack.bytes && !pack.is_here(&range);
            if pack.is_some_and(is_missing) {
                planned.wants.push(Want {
                    pack: digest,
                    range,
                });
            }
        }
        Ok(planned)
    }
}

/// Chunks that are to be fetched.
#[derive(Debug, Default)]
struct Planned {
    wants: Vec<Want>,
    /// The packs of all chunks, those that are blobs without anything.
    packs: HashMap<BlobDigest, Option<Arc<RemotePack>>>,
}

fn fetch_all(
    wants: &[Want],
    packs: &HashMap<BlobDigest, Option<Arc<RemotePack>>>,
    total: u64,
    is_cancelled: &(dyn Fn() -> bool + Sync),
    progress: &dyn Progress,
) -> Result<(), StoreError> {
    let wanted = Wanted::default();
    let next = AtomicUsize::new(0);
    let state = Mutex::new((0, Ok(())));
    let work = || {
        while let Some(want) = wants.get(next.fetch_add(1, Ordering::Relaxed)) {
            let pack = packs.get(&want.pack).and_then(Option::as_ref);
            let fetched = pack.map_or(Ok(()), |pack| pack.fetch(&want.range));
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.1.is_ok() {
                state.1 = fetched.map_err(StoreError::from);
            }
            if state.1.is_err() {
                wanted.end();
                return;
            }
            state.0 += want.range.end - want.range.start;
            progress.advance(Stage::Fetch, state.0, total);
        }
    };
    let threads = FETCHES_AT_ONCE.min(wants.len());
    work_together("prefetch", threads, &wanted, is_cancelled, &work);
    state.into_inner().unwrap_or_else(PoisonError::into_inner).1
}
