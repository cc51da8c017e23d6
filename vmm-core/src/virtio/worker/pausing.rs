//! A device's threads that are told to do nothing for a while.

use std::sync::mpsc::{Receiver, Sender};

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

    fn wait(self) -> Sender<()> {
        // An error means that the thread is gone, which is as quiet.
        let _thread_is_gone = self.wait.recv();
        self.go_on
    }
}

impl FromIterator<PausingLane> for PausingWorker {
    fn from_iter<I: IntoIterator<Item = PausingLane>>(lanes: I) -> Self {
        Self(lanes.into_iter().collect())
    }
}

impl PausingWorker {
    /// Waits until the device does nothing.
    pub(crate) fn wait(self) -> PausedWorker {
        PausedWorker {
            _go_on: self.0.into_iter().map(PausingLane::wait).collect(),
        }
    }
}

/// A worker that does nothing until this is dropped.
#[derive(Debug)]
pub(crate) struct PausedWorker {
    _go_on: Vec<Sender<()>>,
}
