//! Layers that are downloaded together, while somebody reads them.
//!
//! Invariant: each download ends, whatever becomes of the others; and if one fails, the others end soon.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use super::super::{BlobPlace, Layer};
use super::{DOWNLOADS, Download, Failure};
use crate::blobs::{Blobs, create_dir};
use crate::registry::Wanted;
use crate::store::StoreError;

/// Layers that are downloaded at once; the lowest ones come first, as they are needed first.
const AT_ONCE: usize = 4;

/// Does `work`, which reads the layers, while they are downloaded. It has all of them or fails, so if one does not
/// come, none does.
///
/// If a layer did not come, or not as it should be, what came of the others is kept for the next time. If `work` failed
/// for another reason, the image is at fault, and nothing is kept.
pub(crate) fn while_downloading<T, E>(
    layers: &[Layer],
    root: &Path,
    blobs: &Blobs,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E>
where
    E: From<StoreError>,
{
    let downloads = distinct(layers);
    if downloads.is_empty() {
        return work();
    }
    create_dir(blobs.files(), root, DOWNLOADS)?;
    let together = Together::new(&downloads);
    let caller = tracing::Span::current();
    let run = || caller.in_scope(|| together.run(|download| download.fetch(blobs)));
    let done = thread::scope(|scope| {
        let spawned = (0..AT_ONCE.min(downloads.len())).filter(|_| {
            let thread = thread::Builder::new().name("download".to_owned());
            thread.spawn_scoped(scope, run).is_ok()
        });
        if spawned.count() == 0 {
            // The host gives no thread: one after the other will do.
            run();
        }
        let _ends = together.wanted.ends();
        work()
    });
    if done.is_ok() {
        downloads.iter().for_each(|download| download.remove(blobs));
        return done;
    }
    let of_use = downloads.iter().map(|download| download.is_of_use());
    let of_use: Vec<_> = of_use.collect();
    let has_failed = downloads.iter().any(|download| download.has_failed());
    let is_worth_another_try = has_failed || of_use.contains(&false);
    for (download, is_of_use) in downloads.iter().zip(of_use) {
        if !is_worth_another_try || !is_of_use {
            download.remove(blobs);
        }
    }
    done
}

/// The downloads that layers need; an image may have a layer several times.
fn distinct(layers: &[Layer]) -> Vec<&Arc<Download>> {
    let mut downloads: Vec<&Arc<Download>> = Vec::new();
    for layer in layers {
        if let BlobPlace::Download(download) = &layer.place
            && !downloads.iter().any(|known| Arc::ptr_eq(known, download))
        {
            downloads.push(download);
        }
    }
    downloads
}

/// Downloads of one image.
struct Together<'a> {
    downloads: &'a [&'a Arc<Download>],
    /// The first that nobody has begun.
    next: AtomicUsize,
    wanted: Wanted,
    /// Why the first that failed did.
    failure: OnceLock<Arc<Failure>>,
}

impl<'a> Together<'a> {
    fn new(downloads: &'a [&'a Arc<Download>]) -> Self {
        Self {
            downloads,
            next: AtomicUsize::new(0),
            wanted: Wanted::default(),
            failure: OnceLock::new(),
        }
    }

    /// Takes one download after the other until all have ended, which they do also if `fetch` panics.
    fn run(&self, fetch: impl Fn(&Download) -> Result<(), Failure>) {
        let mut panicked = None;
        while let Some(download) = self
            .downloads
            .get(self.next.fetch_add(1, Ordering::Relaxed))
        {
            let fetched = match self.wanted.has_ended() {
                true => Err(Failure::Unwanted),
                false => {
                    let part = AssertUnwindSafe(|| self.wanted.during(|| fetch(download)));
                    catch_unwind(part).unwrap_or_else(|panic| {
                        panicked = Some(panic);
                        Err(Failure::Unwanted)
                    })
                }
            };
            download.end(fetched.map_err(|failure| self.blame(failure)));
        }
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
    }

    /// Why a download did not come: what it failed with, or what another did, which ended this one.
    fn blame(&self, failure: Failure) -> Arc<Failure> {
        if self.wanted.has_ended() {
            let first = self.failure.get().cloned();
            return first.unwrap_or_else(|| Arc::new(Failure::Unwanted));
        }
        let failure = Arc::new(failure);
        // Another one may have failed at the same time.
        _ = self.failure.set(Arc::clone(&failure));
        self.wanted.end();
        failure
    }
}

#[cfg(test)]
mod tests;
