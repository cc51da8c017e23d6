//! Operations that are already under way.
//!
//! Invariant: an operation runs to its end on its own thread, whether or not anyone waits for it, and its
//! result is delivered at most once.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tracing::dispatcher::{self, Dispatch};

use crate::error::{Error, Repr};
use crate::telemetry;

/// A slow call that is already under way.
///
/// `.await` it from any executor, or finish it with [`Op::wait`] on a plain thread. Dropping it lets the
/// operation finish unseen.
#[must_use = "the operation is under way, but its result and its errors are only seen by waiting for it"]
pub struct Op<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    done: Condvar,
}

struct State<T> {
    result: Option<Result<T, Error>>,
    waker: Option<Waker>,
}

impl<T: Send + 'static> Op<T> {
    /// Starts `work` on a thread called `name`, in a span within the caller's, which the caller's subscriber sees.
    pub(crate) fn start(
        name: &'static str,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                result: None,
                waker: None,
            }),
            done: Condvar::new(),
        });
        let completion = Completion {
            name,
            shared: Arc::clone(&shared),
        };
        let span = telemetry::span(name);
        let subscriber = dispatcher::get_default(Dispatch::clone);
        let spawned = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let result = dispatcher::with_default(&subscriber, || span.in_scope(work));
                // It ends before anybody sees that the operation did.
                drop(span);
                completion.shared.finish(result);
            });
        if let Err(source) = spawned {
            shared.finish(Err(Error::from(Repr::Thread { name, source })));
        }
        Op { shared }
    }
}

impl<T> Op<T> {
    /// Blocks until the operation ends.
    ///
    /// # Errors
    /// The operation's own.
    pub fn wait(self) -> Result<T, Error> {
        let mut state = self.shared.lock();
        loop {
            if let Some(result) = state.result.take() {
                return result;
            }
            state = self
                .shared
                .done
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Future for Op<T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.lock();
        if let Some(result) = state.result.take() {
            return Poll::Ready(result);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<T> fmt::Debug for Op<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Op")
            .field("done", &self.shared.lock().result.is_some())
            .finish()
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, result: Result<T, Error>) {
        let waker = {
            let mut state = self.lock();
            state.result = Some(result);
            state.waker.take()
        };
        self.done.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Reports a panic of the work as an error, so that no one waits for ever.
struct Completion<T> {
    name: &'static str,
    shared: Arc<Shared<T>>,
}

impl<T> Drop for Completion<T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared
                .finish(Err(Error::from(Repr::Panicked { name: self.name })));
        }
    }
}

#[cfg(test)]
mod tests;
