//! The thread that outlives a VM's other threads and takes the VM apart.
//!
//! Order: console input ends, since a vCPU may wait in a callback that writes it; vCPUs stop, then devices, then vsock's streams; the console and memory go last, and only then do
//! waiters hear of the end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::control::{Control, KICK_INTERVAL, Vcpu};
use super::laggards::Laggards;
use super::{Exit, Outcome};
use crate::calls::SlowCalls;
use crate::error::RunError;
use crate::event::{Event, Events};
use crate::machine::{Machine, PowerButton, SerialPort};
use crate::memory::Memory;
use crate::metrics::Meter;
use crate::thread::kick;
use crate::vsock::Shared;

/// The name of the thread.
pub(super) const SUPERVISOR: &str = "vm-supervisor";
/// How long a device's thread that does nothing takes to end, at most.
const WORKERS_NEED: Duration = Duration::from_millis(100);

/// All that a running VM consists of.
pub(super) struct Parts {
    pub(super) outcome: Arc<Outcome>,
    pub(super) control: Arc<Control>,
    pub(super) machine: Arc<Machine>,
    pub(super) serial: Arc<SerialPort>,
    pub(super) power_button: Arc<PowerButton>,
    pub(super) events: Events,
    pub(super) slow_calls: SlowCalls,
    pub(super) vsock: Option<Arc<Shared>>,
    pub(super) workers: Vec<JoinHandle<()>>,
    pub(super) meter: Arc<Meter>,
    pub(super) memory: Memory,
}

impl Parts {
    /// Waits for a reason to end, then takes the VM apart.
    pub(super) fn supervise(mut self) {
        let last = self.wait_for_end();
        let _guard = FinishGuard(Arc::clone(&self.outcome));
        self.take_apart_telling(last);
    }

    /// Waits for a reason to end, of which the watchdog is one; returns what the owner has not been told of it.
    /// Meanwhile tells the owner of backends that don't return.
    fn wait_for_end(&mut self) -> Option<Event> {
        while !self.outcome.wait_for_end(self.next_look()) {
            let watchdog = self.machine.watchdog();
            if watchdog.is_some_and(|watchdog| watchdog.has_expired(Instant::now()))
                && self.outcome.end(Exit::Reboot)
            {
                return Some(Event::WatchdogExpired);
            }
            for event in self.slow_calls.look(Instant::now()) {
                self.tell(event);
            }
        }
        match self.outcome.reason() {
            Some(Exit::Failed(error)) => Some(Event::Failed { error }),
            _ => None,
        }
    }

    /// When there is something to look at besides a reason to end.
    fn next_look(&self) -> Option<Instant> {
        let watchdog = self.machine.watchdog();
        let deadline = watchdog.and_then(|watchdog| watchdog.deadline());
        let next_look = self.slow_calls.next_look(Instant::now());
        deadline.into_iter().chain(next_look).min()
    }

    /// Stops everything, of a VM that never got to run.
    pub(super) fn take_apart(self) {
        self.take_apart_telling(None);
    }

    /// Stops everything, and tells the owner of `last` when the guest does nothing any more.
    fn take_apart_telling(self, last: Option<Event>) {
        self.serial.close_input();
        let mut laggards = Laggards::new(&self.events);
        let vm = self
            .control
            .end(|| laggards.wait_for_copy())
            .map(|running| {
                laggards.begin_anew();
                self.end_vcpus(running.vcpus, &mut laggards);
                running.vm
            });
        self.meter.finish();
        self.stop_workers();
        if let Some(event) = last {
            self.tell(event);
        }
        laggards.begin_anew();
        laggards.join(self.workers);
        if let Some(vsock) = self.vsock {
            vsock.close();
        }
        drop(self.events);
        self.power_button.close();
        self.serial.close();
        drop(self.machine);
        drop(vm);
        drop(self.memory);
    }

    fn tell(&self, event: Event) {
        let tell = || self.events.tell(event);
        if catch_unwind(AssertUnwindSafe(tell)).is_err() {
            let name = SUPERVISOR.to_owned();
            let died = Exit::Failed(Arc::new(RunError::ThreadDied { name }));
            if !self.outcome.end(died) {
                tracing::error!("the owner of a VM panicked when it was told how its run ended");
            }
        }
    }

    fn stop_workers(&self) {
        for transport in self.machine.transports() {
            transport.worker().stop();
        }
    }

    fn end_vcpus(&self, vcpus: Vec<Vcpu>, laggards: &mut Laggards<'_>) {
        let vcpus: Vec<_> = vcpus.into_iter().map(|vcpu| vcpu.thread).collect();
        let mut workers_have_stopped = false;
        while vcpus.iter().any(|thread| !thread.is_finished()) {
            vcpus
                .iter()
                .filter(|thread| !thread.is_finished())
                .for_each(kick);
            std::thread::sleep(KICK_INTERVAL);
            laggards.tell(&vcpus);
            // A vCPU may wait for a device that waits for its backend, and is then told of, too.
            if workers_have_stopped {
                laggards.tell(&self.workers);
            } else if laggards.are_late() {
                workers_have_stopped = true;
                self.stop_workers();
                std::thread::sleep(WORKERS_NEED);
            }
        }
        vcpus.into_iter().for_each(join);
    }
}

/// Tells waiters of the end, even if the embedder's console panics when it is flushed or dropped.
struct FinishGuard(Arc<Outcome>);

impl Drop for FinishGuard {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// A thread that panicked has reported that through its guard.
fn join(thread: JoinHandle<()>) {
    let _panic_is_reported = thread.join();
}
