//! What a device's thread does: it waits for commands, for the driver's kicks, and for the host side.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;

use virtio_queue::Queue;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::EventFd;

use super::{Command, Event, MAX_SOURCES};
use crate::error::RunError;
use crate::memory::Memory;
use crate::thread::{NewThread, spawn};
use crate::virtio::{Handler, Interrupt, QueueCounters, ServedQueue};

const COMMAND_TOKEN: u64 = 0;
const FIRST_SOURCE_TOKEN: u64 = 1;
const FIRST_QUEUE_TOKEN: u64 = FIRST_SOURCE_TOKEN + MAX_SOURCES as u64;
/// Events taken at once.
const MAX_EVENTS: usize = 16;

/// A thread that is to be started, or runs.
pub(super) struct Body {
    pub(super) epoll: Epoll,
    pub(super) commands: Receiver<Command>,
    pub(super) waiting: Arc<AtomicUsize>,
    pub(super) wake: EventFd,
    pub(super) kicks: Vec<Arc<EventFd>>,
    pub(super) counters: Vec<Arc<QueueCounters>>,
    /// Empty while the device is idle.
    pub(super) queues: Vec<ServedQueue>,
    pub(super) handler: Box<dyn Handler>,
    pub(super) memory: Memory,
    pub(super) interrupt: Interrupt,
}

impl Body {
    /// Starts the thread. `report` is called once, if it ends without being told to.
    pub(super) fn start(
        self,
        thread: NewThread,
        report: impl FnOnce(RunError) + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        self.watch()?;
        let mut guard = DeathGuard {
            report: Some(report),
            name: thread.name.clone(),
        };
        spawn(thread, move || {
            let ended = self.run();
            match (ended, guard.report.take()) {
                (Err(source), Some(report)) => report(RunError::Device {
                    name: guard.name.clone(),
                    source,
                }),
                _ => tracing::trace!(name = guard.name, "device thread ends"),
            }
        })
    }

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

    fn obey_commands(&mut self) -> ControlFlow<()> {
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
                Command::Stop => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
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

/// The place of `token` among those that begin with `first`; tokens are made of such places.
fn place(token: u64, first: u64) -> usize {
    usize::try_from(token - first).expect("a place is a small number")
}
