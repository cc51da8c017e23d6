//! A device's thread that is told to do nothing for a while.

use std::sync::mpsc::{Receiver, Sender};

/// A worker that may still be at its last request.
#[derive(Debug)]
pub(crate) struct PausingWorker {
    wait: Receiver<()>,
    paused: PausedWorker,
}

impl PausingWorker {
    /// A worker that answers to `wait` when it does nothing, until `go_on` is dropped.
    pub(super) fn new(wait: Receiver<()>, go_on: Sender<()>) -> Self {
        let paused = PausedWorker { _go_on: go_on };
        Self { wait, paused }
    }

    /// Waits until the device does nothing.
    pub(crate) fn wait(self) -> PausedWorker {
        // An error means that the thread is gone, which is as quiet.
        let _thread_is_gone = self.wait.recv();
        self.paused
    }
}

/// A worker that does nothing until this is dropped.
#[derive(Debug)]
pub(crate) struct PausedWorker {
    _go_on: Sender<()>,
}
