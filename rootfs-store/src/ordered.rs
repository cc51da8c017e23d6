//! Work on all cores whose results arrive in the order of the items.
//!
//! Invariant: at most [`IN_FLIGHT`] items are between being taken and being consumed, so memory is bounded however
//! slow one of them is.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Items in flight.
pub(crate) const IN_FLIGHT: usize = 64;
/// Most items that a thread takes at once: waking another for each would take as long as a small item's work.
const MAX_BATCH: usize = 8;
/// Batches for each thread that fit in flight, so that none waits while others work.
const BATCHES: usize = 4;

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
    O: Send,
    E: Send,
{
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = threads.min(IN_FLIGHT);
    let batch = (IN_FLIGHT / BATCHES / threads.max(1)).clamp(1, MAX_BATCH);
    in_batches(threads, batch, items, state, work, consume)
}

/// As [`ordered`], on so many threads, which take one item at a time: for items that take long, whatever the cores do.
pub(crate) fn ordered_on<I, S, O, E>(
    threads: usize,
    items: impl Iterator<Item = I> + Send,
    state: impl Fn() -> Result<S, E> + Sync,
    work: impl Fn(&mut S, I) -> Result<O, E> + Sync,
    consume: impl FnMut(O) -> Result<(), E>,
) -> Result<(), E>
where
    O: Send,
    E: Send,
{
    in_batches(threads, 1, items, state, work, consume)
}

fn in_batches<I, S, O, E>(
    threads: usize,
    batch: usize,
    items: impl Iterator<Item = I> + Send,
    state: impl Fn() -> Result<S, E> + Sync,
    work: impl Fn(&mut S, I) -> Result<O, E> + Sync,
    mut consume: impl FnMut(O) -> Result<(), E>,
) -> Result<(), E>
where
    O: Send,
    E: Send,
{
    let queue = Queue::new(items, batch);
    let (results, arriving) = channel();
    thread::scope(|scope| {
        let _no_more = Close(&queue);
        let (queue, state, work) = (&queue, &state, &work);
        let spawned = (0..threads).filter(|_| {
            let results = results.clone();
            let run = move || work_on(queue, &results, state, work);
            thread::Builder::new().spawn_scoped(scope, run).is_ok()
        });
        if spawned.count() == 0 {
            // The host gives no thread: one after the other will do.
            return one_by_one(queue, state, work, &mut consume);
        }
        drop(results);
        consume_in_order(&arriving, queue, consume)
    })
}

/// Items that are waiting for a thread, and how many are on their way.
struct Queue<T> {
    /// Items that are taken at once.
    batch: usize,
    /// Apart from the rest, as the next item may be long in coming.
    items: Mutex<T>,
    flow: Mutex<Flow>,
    changed: Condvar,
}

#[derive(Default)]
struct Flow {
    taken: usize,
    consumed: usize,
    closed: bool,
}

impl<I, T: Iterator<Item = I>> Queue<T> {
    fn new(items: T, batch: usize) -> Self {
        Self {
            batch,
            items: Mutex::new(items),
            flow: Mutex::new(Flow::default()),
            changed: Condvar::new(),
        }
    }

    /// The next items and the number of the first, as soon as there is room for them in flight; nothing at the end.
    fn take(&self) -> Option<(usize, Vec<I>)> {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let no_room =
            |flow: &mut Flow| !flow.closed && flow.taken - flow.consumed > IN_FLIGHT - self.batch;
        let flow = self.changed.wait_while(self.flow(), no_room);
        if flow.unwrap_or_else(PoisonError::into_inner).closed {
            return None;
        }
        let batch: Vec<_> = items.by_ref().take(self.batch).collect();
        let mut flow = self.flow();
        if batch.is_empty() || flow.closed {
            flow.closed = true;
            self.changed.notify_all();
            return None;
        }
        flow.taken += batch.len();
        Some((flow.taken - batch.len(), batch))
    }
}

impl<T> Queue<T> {
    fn consumed(&self, items: usize) {
        self.flow().consumed += items;
        self.changed.notify_one();
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the queue when a side of it leaves early, by an error or a panic, so that no other waits for it.
struct Close<'a, T>(&'a Queue<T>);

impl<T> Drop for Close<'_, T> {
    fn drop(&mut self) {
        self.0.flow().closed = true;
        self.0.changed.notify_all();
    }
}

/// What a thread found: the number of its first item, and what became of this and of those that follow it.
type Found<O, E> = (usize, Vec<Result<O, E>>);

fn work_on<I, S, O, E, T: Iterator<Item = I>>(
    queue: &Queue<T>,
    results: &Sender<Found<O, E>>,
    state: &impl Fn() -> Result<S, E>,
    work: &impl Fn(&mut S, I) -> Result<O, E>,
) {
    let _ends_all = Close(queue);
    let mut state = match state() {
        Ok(state) => state,
        Err(error) => {
            // Whoever does not listen any more has failed already.
            let _ = results.send((usize::MAX, vec![Err(error)]));
            return;
        }
    };
    while let Some((first, items)) = queue.take() {
        let mut found = Vec::with_capacity(items.len());
        for item in items {
            found.push(work(&mut state, item));
            if found.last().is_some_and(Result::is_err) {
                break;
            }
        }
        if results.send((first, found)).is_err() {
            return;
        }
    }
}

fn consume_in_order<O, E, T>(
    arriving: &Receiver<Found<O, E>>,
    queue: &Queue<T>,
    mut consume: impl FnMut(O) -> Result<(), E>,
) -> Result<(), E> {
    let mut early = BTreeMap::new();
    let mut next = 0;
    for (first, found) in arriving {
        // An error ends it all, whatever is still missing before it.
        let found: Vec<_> = found.into_iter().collect::<Result<_, E>>()?;
        early.insert(first, found);
        while let Some(found) = early.remove(&next) {
            let items = found.len();
            found.into_iter().try_for_each(&mut consume)?;
            next += items;
            queue.consumed(items);
        }
    }
    Ok(())
}

fn one_by_one<I, S, O, E, T: Iterator<Item = I>>(
    queue: &Queue<T>,
    state: &impl Fn() -> Result<S, E>,
    work: &impl Fn(&mut S, I) -> Result<O, E>,
    consume: &mut impl FnMut(O) -> Result<(), E>,
) -> Result<(), E> {
    let mut state = state()?;
    while let Some((_, items)) = queue.take() {
        let taken = items.len();
        for item in items {
            consume(work(&mut state, item)?)?;
        }
        queue.consumed(taken);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
