//! Work on all cores whose results arrive in the order of the items.
//!
//! Invariant: at most [`IN_FLIGHT`] items are between being taken and being consumed, so memory is bounded however
//! slow one of them is.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

/// Items in flight.
pub(crate) const IN_FLIGHT: usize = 64;

/// Applies `work` to every item, on one thread a core, and hands the results to `consume` in the items' order.
///
/// Each thread works with a state of its own, which `state` makes. The first error ends it all.
pub(crate) fn ordered<I, S, O, E>(
    items: impl Iterator<Item = I> + Send,
    state: impl Fn() -> Result<S, E> + Sync,
    work: impl Fn(&mut S, I) -> Result<O, E> + Sync,
    consume: impl FnMut(O) -> Result<(), E>,
) -> Result<(), E>
where
    I: Send,
    O: Send,
    E: Send,
{
    let items = Mutex::new(items.enumerate());
    let (give_ticket, tickets) = bounded(IN_FLIGHT);
    let (send_result, results) = bounded(IN_FLIGHT);
    for _ in 0..IN_FLIGHT {
        // There is room: the channel was made for this many.
        let _ = give_ticket.try_send(());
    }
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZeroUsize::get) {
            let (tickets, send_result) = (tickets.clone(), send_result.clone());
            scope.spawn(|| work_on(&items, tickets, send_result, &state, &work));
        }
        drop((tickets, send_result));
        consume_in_order(results, give_ticket, consume)
    })
}

/// Ends when there is nothing to do, or when nobody listens any more.
fn work_on<I, S, O, E>(
    items: &Mutex<impl Iterator<Item = (usize, I)>>,
    tickets: Receiver<()>,
    results: Sender<(usize, Result<O, E>)>,
    state: &(impl Fn() -> Result<S, E> + Sync),
    work: &(impl Fn(&mut S, I) -> Result<O, E> + Sync),
) {
    let mut state = match state() {
        Ok(state) => state,
        Err(error) => {
            let _ = results.send((usize::MAX, Err(error)));
            return;
        }
    };
    while tickets.recv().is_ok() {
        let next = items.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some((number, item)) = next else { return };
        if results.send((number, work(&mut state, item))).is_err() {
            return;
        }
    }
}

fn consume_in_order<O, E>(
    results: Receiver<(usize, Result<O, E>)>,
    give_ticket: Sender<()>,
    mut consume: impl FnMut(O) -> Result<(), E>,
) -> Result<(), E> {
    let mut early = BTreeMap::new();
    let mut next = 0;
    for (number, result) in results {
        early.insert(number, result?);
        while let Some(result) = early.remove(&next) {
            consume(result)?;
            next += 1;
            // A thread that has ended left its ticket unused, then there may be no room, and no need.
            let _ = give_ticket.try_send(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
