//! The thread that outlives a VM's other threads and takes the VM apart.
//!
//! Order: vCPUs stop, then devices, then vsock's streams; the console and memory go last, and only then do
//! waiters hear of the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use kvm_ioctls::VmFd;

use super::Outcome;
use crate::event::Events;
use crate::machine::Machine;
use crate::memory::Memory;
use crate::thread::kick;
use crate::vsock::Shared;

/// How long to wait before a vCPU that has not stopped is kicked again.
const KICK_INTERVAL: Duration = Duration::from_millis(1);

/// All that a running VM consists of.
pub(super) struct Parts {
    pub(super) outcome: Arc<Outcome>,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) machine: Arc<Machine>,
    pub(super) events: Events,
    pub(super) vsock: Option<Arc<Shared>>,
    pub(super) vcpus: Vec<JoinHandle<()>>,
    pub(super) workers: Vec<JoinHandle<()>>,
    pub(super) vm: VmFd,
    pub(super) memory: Memory,
}

impl Parts {
    /// Waits for a reason to end, then takes the VM apart.
    pub(super) fn supervise(self) {
        self.outcome.wait_for_end();
        let _guard = FinishGuard(Arc::clone(&self.outcome));
        self.take_apart();
    }

    /// Stops everything; also for a VM that never got to run.
    pub(super) fn take_apart(self) {
        self.stopping.store(true, Ordering::SeqCst);
        while self.vcpus.iter().any(|thread| !thread.is_finished()) {
            self.vcpus
                .iter()
                .filter(|thread| !thread.is_finished())
                .for_each(kick);
            std::thread::sleep(KICK_INTERVAL);
        }
        self.vcpus.into_iter().for_each(join);
        for transport in self.machine.transports() {
            transport.worker().stop();
        }
        self.workers.into_iter().for_each(join);
        if let Some(vsock) = self.vsock {
            vsock.close();
        }
        drop(self.events);
        self.machine.serial().close();
        drop(self.machine);
        drop(self.vm);
        drop(self.memory);
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
