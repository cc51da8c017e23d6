//! Work on several blobs at a time, which has an end for all of them when one fails.

use std::sync::{Mutex, PoisonError};

use crate::ordered::ordered_on;
use crate::registry::Wanted;

/// Blobs that are looked up and sent at once.
const AT_ONCE: usize = 4;

/// Does `work` with each item, and returns what came of them in order.
///
/// # Errors
/// The first error in time: the requests of the others end then, instead of being waited for.
pub(super) fn each<I: Send, O: Send, E: Send>(
    items: Vec<I>,
    work: impl Fn(I) -> Result<O, E> + Sync,
) -> Result<Vec<O>, E> {
    let (transfer, first) = (Wanted::default(), Mutex::new(None));
    let caller = tracing::Span::current();
    let part = |(): &mut (), item| {
        let done = transfer.during(|| caller.in_scope(|| work(item)));
        done.map_err(|error| {
            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(error);
            transfer.end();
        })
    };
    let mut all = Vec::with_capacity(items.len());
    let keep = |done| {
        all.push(done);
        Ok(())
    };
    // What it fails with is the first in order, and may only say that another one ended it.
    _ = ordered_on(AT_ONCE, items.into_iter(), || Ok(()), part, keep);
    match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(all),
    }
}

#[cfg(test)]
mod tests;
