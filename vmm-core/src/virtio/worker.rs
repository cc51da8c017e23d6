//! The threads on which a device works: one for all of its queues, or one for each.
//!
//! The transport, on a vCPU thread, sends commands; the driver's kicks arrive as eventfds. Invariant: after
//! [`Worker::reset`] returns, the device touches no guest memory until it is activated again. A command
//! waits for the request that is being served, not for those that the guest has queued behind it.

mod body;
mod pausing;

use body::Body;
use pausing::PausingLane;
pub(crate) use pausing::{PausedWorker, PausingWorker};

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use virtio_queue::{Queue, QueueState};
use vmm_sys_util::epoll::Epoll;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::{Handler, Interrupt, QueueCounters};
use crate::error::RunError;
use crate::memory::Memory;
use crate::thread::NewThread;

/// Why a device is asked to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The driver put buffers on this queue.
    Queue(usize),
    /// The host side has something to do: this one of the handler's sources is readable.
    Source(usize),
}

enum Command {
    Activate {
        queues: Vec<Queue>,
        features: u64,
    },
    Reset {
        done: SyncSender<()>,
    },
    Pause {
        /// Where the queues are; nothing if the device is idle, or its queues were wrecked.
        done: SyncSender<Vec<QueueState>>,
        resume: Receiver<()>,
    },
    Stop,
}

/// The most descriptors of its own that a handler can have.
pub(crate) const MAX_SOURCES: usize = 8;

/// The transport's end of a device's threads.
#[derive(Debug)]
pub(crate) struct Worker {
    lanes: Vec<Lane>,
    kicks: Vec<Arc<EventFd>>,
    counters: Vec<Arc<QueueCounters>>,
}

/// The end of one thread.
#[derive(Debug)]
struct Lane {
    commands: Sender<Command>,
    /// How many of them wait.
    waiting: Arc<AtomicUsize>,
    wake: EventFd,
    /// How many of the device's queues it serves.
    queues: usize,
}

impl Worker {
    /// A device of so many queues, whose threads are still to be [added](Self::add_thread).
    pub(crate) fn new(queues: usize) -> io::Result<Self> {
        let kicks = (0..queues).map(|_| new_event().map(Arc::new));
        Ok(Self {
            lanes: Vec::new(),
            kicks: kicks.collect::<io::Result<_>>()?,
            counters: (0..queues).map(|_| Arc::default()).collect(),
        })
    }

    /// Starts a thread for the next `queues` of the device's queues, which are then all that its handler
    /// knows of. `report` is called once, if the thread ends without being told to.
    pub(crate) fn add_thread(
        &mut self,
        thread: NewThread,
        queues: usize,
        handler: Box<dyn Handler>,
        memory: Memory,
        interrupt: Interrupt,
        report: impl FnOnce(RunError) + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let (commands, received) = channel();
        let lane = Lane {
            commands,
            waiting: Arc::default(),
            wake: new_event()?,
            queues,
        };
        let first: usize = self.lanes.iter().map(|lane| lane.queues).sum();
        let body = Body {
            epoll: Epoll::new()?,
            commands: received,
            waiting: Arc::clone(&lane.waiting),
            wake: lane.wake.try_clone()?,
            kicks: self.kicks[first..first + queues].to_vec(),
            counters: self.counters[first..first + queues].to_vec(),
            queues: Vec::new(),
            handler,
            memory,
            interrupt,
        };
        let thread = body.start(thread, report)?;
        self.lanes.push(lane);
        Ok(thread)
    }

    /// The eventfds by which the driver kicks the queues.
    pub(crate) fn kicks(&self) -> &[Arc<EventFd>] {
        &self.kicks
    }

    /// What counts for each queue.
    pub(crate) fn counters(&self) -> &[Arc<QueueCounters>] {
        &self.counters
    }

    /// Hands the queues to the device.
    pub(crate) fn activate(&self, mut queues: Vec<Queue>, features: u64) {
        for lane in &self.lanes {
            let queues = queues.drain(..lane.queues.min(queues.len())).collect();
            lane.send(Command::Activate { queues, features });
        }
    }

    /// Takes them away again; returns when the device has let go.
    pub(crate) fn reset(&self) {
        let resets: Vec<_> = self.lanes.iter().map(Lane::reset).collect();
        for reset in resets {
            // An error means that the thread is gone, and with it all use of the queues.
            let _thread_is_gone = reset.recv();
        }
    }

    /// Asks the threads to do nothing, after the requests that they are working on.
    pub(crate) fn pause(&self) -> PausingWorker {
        self.lanes.iter().map(Lane::pause).collect()
    }

    /// Ends the threads, after the requests that they are working on.
    pub(crate) fn stop(&self) {
        for lane in &self.lanes {
            lane.send(Command::Stop);
        }
    }
}

impl Lane {
    fn pause(&self) -> PausingLane {
        let (done, wait) = sync_channel(1);
        let (go_on, resume) = channel();
        self.send(Command::Pause { done, resume });
        PausingLane::new(wait, go_on, self.queues)
    }

    fn reset(&self) -> Receiver<()> {
        let (done, wait) = sync_channel(1);
        self.send(Command::Reset { done });
        wait
    }

    fn send(&self, command: Command) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // Both fail only if the thread is gone, which its guard has reported.
        let _thread_is_gone = self.commands.send(command);
        let _woken_already = self.wake.write(1);
    }
}

fn new_event() -> io::Result<EventFd> {
    EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)
}

#[cfg(test)]
mod tests;
