//! Fetching the rest of packs, which are blobs then.
//!
//! Invariant: a pack gets its name only after all of its bytes were hashed, from the very file that gets it, and nobody
//! writes to that file from then on.

mod download;
mod hash;
mod pace;
mod publish;
mod turns;

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::RemoteError;
use super::crew::work_together;
use crate::digest::SnapshotDigest;
use crate::leases::Lease;
use crate::manifest::Pack;
use crate::progress::{Progress, Stage};
use crate::registry::Wanted;
use crate::store::{Store, StoreError};
use pace::Pace;
use publish::Unhashed;
pub(super) use turns::Turns;

/// Packs that are fetched at a time.
const PACKS_AT_ONCE: usize = 4;
/// How often a pack is fetched: again if its bytes are wrong, and then only what is.
const ROUNDS: usize = 2;

/// How packs are fetched.
#[derive(Clone, Copy)]
pub struct FillOptions<'a> {
    /// Most bytes that are fetched in a second, for all packs together. A pack that others fetch at the same time comes
    /// at the fastest pace of all.
    pub bytes_per_second: Option<NonZeroU64>,
    /// Asked now and then whether to end it.
    pub is_cancelled: &'a (dyn Fn() -> bool + Sync),
}

impl Default for FillOptions<'_> {
    fn default() -> Self {
        Self {
            bytes_per_second: None,
            is_cancelled: &|| false,
        }
    }
}

impl std::fmt::Debug for FillOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FillOptions")
            .field("bytes_per_second", &self.bytes_per_second)
            .finish_non_exhaustive()
    }
}

/// What was fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filled {
    /// Packs that are blobs of the store now.
    pub packs: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Bytes that came from origins.
    pub fetched_bytes: u64,
}

impl Store {
    /// Fetches all of a snapshot's packs that are elsewhere.
    ///
    /// Others may read the snapshot meanwhile, which fetches what they need at once. What was fetched before is not
    /// fetched again, after a crash or an error neither.
    ///
    /// # Errors
    /// [`RemoteError`] in [`StoreError::Remote`], or [`StoreError::Io`] if the disk is full; packs that are complete
    /// stay, and what was fetched of others.
    pub fn fill(
        &self,
        snapshot: &SnapshotDigest,
        options: &FillOptions<'_>,
        progress: &dyn Progress,
    ) -> Result<Filled, StoreError> {
        let lease = self.lease()?;
        let snapshot = self.keep_under(&lease, snapshot)?;
        self.fill_packs(&snapshot.packs, &lease, options, progress)
    }

    /// As [`Store::fill`], for packs that `lease` keeps, and will keep from then on.
    ///
    /// # Errors
    /// As [`Store::fill`].
    pub fn fill_packs(
        &self,
        packs: &[Pack],
        lease: &Lease,
        options: &FillOptions<'_>,
        progress: &dyn Progress,
    ) -> Result<Filled, StoreError> {
        let mut packs = packs.to_vec();
        packs.sort_unstable_by_key(|pack| pack.digest);
        packs.dedup_by_key(|pack| pack.digest);
        // Large ones first, so that none is left alone at the end.
        packs.sort_by_key(|pack| std::cmp::Reverse(pack.bytes));
        let fill = Fill {
            store: self,
            lease,
            options,
            pace: Arc::new(Pace::new(options.bytes_per_second)),
            progress,
            total: packs.iter().map(|pack| pack.bytes).sum(),
            done: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
            wanted: Wanted::default(),
        };
        fill.all(&packs)
    }
}

/// Fetching of some packs.
struct Fill<'a> {
    store: &'a Store,
    lease: &'a Lease,
    options: &'a FillOptions<'a>,
    pace: Arc<Pace>,
    progress: &'a dyn Progress,
    /// Bytes of all packs.
    total: u64,
    /// Bytes of these that are here.
    done: AtomicU64,
    fetched: AtomicU64,
    /// Ends when one of them fails, as the others then do.
    wanted: Wanted,
}

impl Fill<'_> {
    fn all(&self, packs: &[Pack]) -> Result<Filled, StoreError> {
        let next = AtomicUsize::new(0);
        let result = Mutex::new(Ok(Filled::default()));
        let work = || {
            while let Some(pack) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let filled = self.pack(pack);
                let mut result = result.lock().unwrap_or_else(PoisonError::into_inner);
                match (filled, &mut *result) {
                    (Ok(is_new), Ok(all)) => {
                        all.packs += u64::from(is_new);
                        all.bytes += if is_new { pack.bytes } else { 0 };
                    }
                    (Err(error), Ok(_)) => {
                        *result = Err(error);
                        self.wanted.end();
                    }
                    (_, Err(_)) => {}
                }
                if result.is_err() {
                    return;
                }
            }
        };
        // One transfer is enough for a limit, and leaves its registry's other requests to others.
        let at_once = match self.options.bytes_per_second {
            Some(_) => 1,
            None => PACKS_AT_ONCE,
        };
        let threads = at_once.min(packs.len());
        work_together(
            "fill",
            threads,
            &self.wanted,
            self.options.is_cancelled,
            &work,
        );
        let filled = result
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)?;
        Ok(Filled {
            fetched_bytes: self.fetched.load(Ordering::Relaxed),
            ..filled
        })
    }

    /// Fetches a pack; whether it was not a blob yet.
    fn pack(&self, pack: &Pack) -> Result<bool, StoreError> {
        let source = &self.store.inner.source;
        let opened = source.remotes.open(&pack.digest)?;
        let Some(remote) = opened.filter(|remote| remote.bytes == pack.bytes) else {
            return match source.is_here(pack) {
                true => {
                    self.add_done(pack.bytes);
                    Ok(false)
                }
                false => Err(RemoteError::Unknown { pack: pack.digest }.into()),
            };
        };
        // What is here is told while another one fetches it.
        let mut told = 0;
        let turn = remote.turns.take(&self.pace, || {
            let here = remote.here().bytes();
            self.add_done(here.saturating_sub(told));
            told = told.max(here);
            !self.is_cancelled()
        });
        let Some(_turn) = turn else {
            return Err(RemoteError::Cancelled.into());
        };
        if source.is_here(pack) {
            // Who made it a blob may have been killed before all of that was durable.
            self.store.blobs().sync()?;
            source.remotes.remove_pack(&pack.digest)?;
            self.add_done(pack.bytes.saturating_sub(told));
            return Ok(false);
        }
        let mut actual = pack.digest;
        for round in 0..ROUNDS {
            let unhashed = Unhashed::begin(&remote)?;
            actual = self.fetch_and_hash(&remote, round, told)?;
            if actual == pack.digest && self.publish(&remote, unhashed)? {
                return Ok(true);
            }
            remote.forget_damaged()?;
        }
        Err(RemoteError::Content {
            pack: pack.digest,
            origin: remote.first_origin(),
            actual,
        }
        .into())
    }

    fn add_done(&self, bytes: u64) {
        let before = self.done.fetch_add(bytes, Ordering::Relaxed);
        // What was wrong is counted again.
        let done = (before + bytes).min(self.total);
        self.progress.advance(Stage::Fetch, done, self.total);
    }

    fn is_cancelled(&self) -> bool {
        self.wanted.has_ended() || (self.options.is_cancelled)()
    }
}
