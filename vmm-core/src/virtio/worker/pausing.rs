//! A device's threads that are told to do nothing for a while.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

/// How often a wait looks whether the run is over.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A device that may still be at its last requests.
#[derive(Debug)]
pub(crate) struct PausingWorker(Vec<PausingLane>);

/// One thread of it.
#[derive(Debug)]
pub(super) struct PausingLane {
    wait: Receiver<()>,
    go_on: Sender<()>,
}

impl PausingLane {
    /// A thread that answers to `wait` when it does nothing, until `go_on` is dropped.
    pub(super) fn new(wait: Receiver<()>, go_on: Sender<()>) -> Self {
        Self { wait, go_on }
    }

    fn wait(self, is_over: impl Fn() -> bool) -> Option<Sender<()>> {
        while let Err(RecvTimeoutError::Timeout) = self.wait.recv_timeout(LOOK_INTERVAL) {
            if is_over() {
                return None;
            }
        }
        // If the thread is gone, it is as quiet.
        Some(self.go_on)
    }
}

impl FromIterator<PausingLane> for PausingWorker {
    fn from_iter<I: IntoIterator<Item = PausingLane>>(lanes: I) -> Self {
        Self(lanes.into_iter().collect())
    }
}

impl PausingWorker {
    /// Waits until the device does nothing; `None` if `is_over` says meanwhile that nobody needs that any more.
    pub(crate) fn wait(self, is_over: impl Fn() -> bool) -> Option<PausedWorker> {
        let lanes = self.0.into_iter();
        let go_on = lanes.map(|lane| lane.wait(&is_over)).collect::<Option<_>>();
        go_on.map(|go_on| PausedWorker { _go_on: go_on })
    }
}

/// A worker that does nothing until this is dropped.
#[derive(Debug)]
pub(crate) struct PausedWorker {
    _go_on: Vec<Sender<()>>,
}
