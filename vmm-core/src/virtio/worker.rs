//! The threads on which a device works: one for all of its queues, or one for each.
//!
//! The transport, on a vCPU thread, sends commands; the driver's kicks arrive as eventfds. Invariant: after
//! [`Worker::reset`] returns, the device touches no guest memory until it is activated again. A command
//! waits for the request that is being served, not for those that the guest has queued behind it.

mod pausing;

use pausing::PausingLane;
pub(crate) use pausing::{PausedWorker, PausingWorker};

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use virtio_queue::{Queue, QueueState};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::{Handler, Interrupt, QueueCounters, ServedQueue};
use crate::error::RunError;
use crate::memory::Memory;
use crate::thread::{NewThread, spawn};

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

const COMMAND_TOKEN: u64 = 0;
const FIRST_SOURCE_TOKEN: u64 = 1;
const FIRST_QUEUE_TOKEN: u64 = FIRST_SOURCE_TOKEN + MAX_SOURCES as u64;
/// Events taken at once.
const MAX_EVENTS: usize = 16;

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
        body.watch()?;
        let mut guard = DeathGuard {
            report: Some(report),
            name: thread.name.clone(),
        };
        let thread = spawn(thread, move || {
            let ended = body.run();
            match (ended, guard.report.take()) {
                (Err(source), Some(report)) => report(RunError::Device {
                    name: guard.name.clone(),
                    source,
                }),
                _ => tracing::trace!(name = guard.name, "device thread ends"),
            }
        })?;
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

/// Reports a thread that unwinds.
struct DeathGuard<R: FnOnce(RunError)> {
    report: Option<R>,
    name: String,
}

impl<R: FnOnce(RunError)> Drop for DeathGuard<R> {
    fn drop(&mut self) {
        if let Some(report) = self.report.take() {
            report(RunError::ThreadDied {
                name: std::mem::take(&mut self.name),
            });
        }
    }
}

struct Body {
    epoll: Epoll,
    commands: Receiver<Command>,
    waiting: Arc<AtomicUsize>,
    wake: EventFd,
    kicks: Vec<Arc<EventFd>>,
    counters: Vec<Arc<QueueCounters>>,
    /// Empty while the device is idle.
    queues: Vec<ServedQueue>,
    handler: Box<dyn Handler>,
    memory: Memory,
    interrupt: Interrupt,
}

impl Body {
    fn watch(&self) -> io::Result<()> {
        let add = |fd: RawFd, token: u64| {
            self.epoll.ctl(
                ControlOperation::Add,
                fd,
                EpollEvent::new(EventSet::IN, token),
            )
        };
        add(self.wake.as_raw_fd(), COMMAND_TOKEN)?;
        let sources = self.handler.sources();
        assert!(sources.len() <= MAX_SOURCES, "a device names its sources");
        for (fd, token) in sources.into_iter().zip(FIRST_SOURCE_TOKEN..) {
            add(fd, token)?;
        }
        for (kick, token) in self.kicks.iter().zip(FIRST_QUEUE_TOKEN..) {
            add(kick.as_raw_fd(), token)?;
        }
        Ok(())
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = [EpollEvent::default(); MAX_EVENTS];
        loop {
            let count = match self.epoll.wait(-1, &mut events) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            };
            for event in &events[..count] {
                match event.data() {
                    COMMAND_TOKEN => {
                        let _count = self.wake.read();
                        if self.obey_commands().is_break() {
                            return Ok(());
                        }
                    }
                    token @ FIRST_SOURCE_TOKEN..FIRST_QUEUE_TOKEN => {
                        self.serve(Event::Source(place(token, FIRST_SOURCE_TOKEN)));
                    }
                    token => {
                        let index = place(token, FIRST_QUEUE_TOKEN);
                        self.counters[index].notified(self.kicks[index].read().unwrap_or(0));
                        self.serve(Event::Queue(index));
                    }
                }
            }
        }
    }

    fn obey_commands(&mut self) -> std::ops::ControlFlow<()> {
        while let Ok(command) = self.commands.try_recv() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            match command {
                Command::Activate { queues, features } => self.activate(queues, features),
                Command::Reset { done } => {
                    self.queues.clear();
                    self.handler.reset();
                    let _nobody_waits = done.send(());
                }
                Command::Pause { done, resume } => {
                    let queues = self.queues.iter().map(ServedQueue::state).collect();
                    let _nobody_waits = done.send(queues);
                    // Nothing is ever sent: the other end is dropped.
                    let _dropped = resume.recv();
                }
                Command::Stop => return std::ops::ControlFlow::Break(()),
            }
        }
        std::ops::ControlFlow::Continue(())
    }

    fn activate(&mut self, queues: Vec<Queue>, features: u64) {
        let serve = |(index, queue)| {
            let (memory, interrupt) = (self.memory.clone(), self.interrupt.clone());
            let kick: &Arc<EventFd> = &self.kicks[index];
            ServedQueue::new(queue, memory, interrupt, Arc::clone(kick))
                .counting_in(Arc::clone(&self.counters[index]))
                .yielding_to(Arc::clone(&self.waiting))
        };
        let served: Vec<_> = queues.into_iter().enumerate().map(serve).collect();
        if !served.iter().all(ServedQueue::is_sane) {
            tracing::debug!("a virtio driver set up its queues outside of memory");
            self.interrupt.needs_reset();
            return;
        }
        self.queues = served;
        self.handler.activate(features);
        for index in 0..self.queues.len() {
            self.serve(Event::Queue(index));
        }
    }

    fn serve(&mut self, event: Event) {
        if self.interrupt.is_reset_needed() {
            // A device stops as a whole, also for a queue that another thread serves.
            self.queues.clear();
        }
        if self.queues.is_empty() && matches!(event, Event::Queue(_)) {
            return;
        }
        if let Err(error) = self.handler.serve(event, &mut self.queues) {
            // Not louder: a guest can bring this about as often as it likes.
            tracing::debug!(?error, "a virtio device needs a reset");
            self.queues.clear();
            self.interrupt.needs_reset();
        }
    }
}

/// The place of `token` among those that begin with `first`; tokens are made of such places.
fn place(token: u64, first: u64) -> usize {
    usize::try_from(token - first).expect("a place is a small number")
}

#[cfg(test)]
mod tests;
