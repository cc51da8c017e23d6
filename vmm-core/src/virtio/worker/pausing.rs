//! A device's threads that are told to do nothing for a while.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use virtio_queue::QueueState;

/// How often a wait looks whether the run is over.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A device that may still be at its last requests.
#[derive(Debug)]
pub(crate) struct PausingWorker(Vec<PausingLane>);

/// One thread of it.
#[derive(Debug)]
pub(super) struct PausingLane {
    wait: Receiver<Vec<QueueState>>,
    go_on: Sender<()>,
    queues: usize,
}

impl PausingLane {
    /// A thread of so many queues that answers to `wait` when it does nothing, until `go_on` is dropped.
    pub(super) fn new(wait: Receiver<Vec<QueueState>>, go_on: Sender<()>, queues: usize) -> Self {
        Self {
            wait,
            go_on,
            queues,
        }
    }

    fn wait(self, is_over: impl Fn() -> bool) -> Option<PausedLane> {
        let served = loop {
            match self.wait.recv_timeout(LOOK_INTERVAL) {
                Ok(served) => break served,
                // If the thread is gone, it is as quiet.
                Err(RecvTimeoutError::Disconnected) => break Vec::new(),
                Err(RecvTimeoutError::Timeout) if is_over() => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        let queues = (0..self.queues).map(|index| served.get(index).copied());
        Some(PausedLane {
            queues: queues.collect(),
            _go_on: self.go_on,
        })
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
        let paused = lanes.map(|lane| lane.wait(&is_over)).collect::<Option<_>>();
        paused.map(|lanes| PausedWorker { lanes })
    }
}

/// A worker that does nothing until this is dropped.
#[derive(Debug)]
pub(crate) struct PausedWorker {
    lanes: Vec<PausedLane>,
}

#[derive(Debug)]
struct PausedLane {
    queues: Vec<Option<QueueState>>,
    _go_on: Sender<()>,
}

impl PausedWorker {
    /// The device's queues where they are; `None` for those that it does not serve.
    pub(crate) fn queues(&self) -> impl Iterator<Item = Option<QueueState>> {
        self.lanes
            .iter()
            .flat_map(|lane| lane.queues.iter().copied())
    }
}
