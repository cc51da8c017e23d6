//! The host's side of a VM's vsock: connecting to the guest, and being connected to.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::State;
use super::mux::{Mux, gone};
use super::{Shared, VsockStream};

/// The host's side of a VM's vsock device. Clones are the same thing; it outlives its VM without harm.
#[derive(Clone, Debug)]
pub struct VsockHost {
    shared: Arc<Shared>,
}

impl VsockHost {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Connects to `port` in the guest.
    ///
    /// A guest whose vsock driver is not there yet does not answer, so early calls last until the driver is
    /// loaded, and are then refused if nothing listens.
    ///
    /// # Errors
    /// - [`ConnectionRefused`](io::ErrorKind::ConnectionRefused): nothing listens there.
    /// - [`TimedOut`](io::ErrorKind::TimedOut): no answer within `timeout`; the attempt is over.
    /// - [`BrokenPipe`](io::ErrorKind::BrokenPipe): the VM has ended.
    /// - [`QuotaExceeded`](io::ErrorKind::QuotaExceeded): the VM has 1024 connections.
    pub fn connect(&self, port: u32, timeout: Duration) -> io::Result<VsockStream> {
        let deadline = deadline(Some(timeout));
        let mut mux = self.shared.lock();
        let id = mux.connect(port)?;
        self.shared.wake_device();
        let outcome = loop {
            if mux.is_gone() {
                break Err(gone());
            }
            let connection = mux.connection(id);
            let changed = match connection.map(|c| (c.state, Arc::clone(&c.changed))) {
                Some((State::Connecting, changed)) => changed,
                Some((State::Open, _)) => break Ok(()),
                Some((State::Reset, _)) | None => {
                    break Err(io::ErrorKind::ConnectionRefused.into());
                }
            };
            if is_past(deadline) {
                break Err(io::ErrorKind::TimedOut.into());
            }
            mux = wait(&changed, mux, deadline);
        };
        if outcome.is_err() {
            mux.disown(id);
        }
        self.shared.release(mux);
        outcome.map(|()| VsockStream::new(Arc::clone(&self.shared), id))
    }

    /// Listens on `port` of the host's address, [`HOST_CID`](crate::HOST_CID), for the guest's connections.
    ///
    /// # Errors
    /// - [`AddrInUse`](io::ErrorKind::AddrInUse): a listener of this VM has the port.
    /// - [`BrokenPipe`](io::ErrorKind::BrokenPipe): the VM has ended.
    pub fn listen(&self, port: u32) -> io::Result<VsockListener> {
        let changed = self.shared.lock().listen(port)?;
        Ok(VsockListener {
            shared: Arc::clone(&self.shared),
            port,
            changed,
            is_closed: AtomicBool::new(false),
        })
    }
}

/// Takes the guest's connections to one port, up to 128 before they are accepted; more are refused.
/// Dropping it stops that, and resets those that were not accepted.
#[derive(Debug)]
pub struct VsockListener {
    shared: Arc<Shared>,
    port: u32,
    changed: Arc<Condvar>,
    /// Changes under the lock of the mux.
    is_closed: AtomicBool,
}

impl VsockListener {
    /// Waits for the guest's next connection, without end if `timeout` is `None`.
    ///
    /// # Errors
    /// - [`TimedOut`](io::ErrorKind::TimedOut): none came within `timeout`.
    /// - [`BrokenPipe`](io::ErrorKind::BrokenPipe): the VM has ended.
    /// - [`ConnectionAborted`](io::ErrorKind::ConnectionAborted): it was closed.
    pub fn accept(&self, timeout: Option<Duration>) -> io::Result<VsockStream> {
        let deadline = deadline(timeout);
        let mut mux = self.shared.lock();
        loop {
            if mux.is_gone() {
                return Err(gone());
            }
            if self.is_closed.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if let Some(id) = mux.accept(self.port) {
                return Ok(VsockStream::new(Arc::clone(&self.shared), id));
            }
            if is_past(deadline) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            mux = wait(&self.changed, mux, deadline);
        }
    }
}

impl VsockListener {
    /// The port.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Does what dropping it does, while others may wait in [`accept`](Self::accept), which then fails.
    pub fn close(&self) {
        let mut mux = self.shared.lock();
        // Another listener may have the port afterwards.
        if !self.is_closed.swap(true, Ordering::Relaxed) {
            mux.unlisten(self.port);
            self.changed.notify_all();
        }
        self.shared.release(mux);
    }
}

impl Drop for VsockListener {
    fn drop(&mut self) {
        self.close();
    }
}

/// When a wait of `timeout` ends; `None` is never, as is a time past what the clock can say.
pub(super) fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

pub(super) fn is_past(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

/// Waits until `changed` is notified or `deadline` is past; it may also return for no reason.
pub(super) fn wait<'a>(
    changed: &Condvar,
    mux: MutexGuard<'a, Mux>,
    deadline: Option<Instant>,
) -> MutexGuard<'a, Mux> {
    let Some(deadline) = deadline else {
        return changed.wait(mux).unwrap_or_else(PoisonError::into_inner);
    };
    let timeout = deadline.saturating_duration_since(Instant::now());
    changed
        .wait_timeout(mux, timeout)
        .unwrap_or_else(PoisonError::into_inner)
        .0
}
