//! What the embedder writes to the serial port, on its way to the guest.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::SerialPort;

/// The most bytes that wait for the guest.
pub(super) const BUFFER_BYTES: usize = 4096;

/// Bytes that the guest has not taken yet.
#[derive(Default)]
pub(super) struct Buffer {
    state: Mutex<State>,
    /// There is room again, or the VM has ended.
    changed: Condvar,
    /// Bytes were added that nobody has tried to move on.
    fresh: AtomicBool,
}

#[derive(Default)]
struct State {
    bytes: VecDeque<u8>,
    closed: bool,
}

impl Buffer {
    /// A buffer in which `bytes` wait, which are no more than [`BUFFER_BYTES`].
    pub(super) fn with(bytes: &[u8]) -> Self {
        let buffer = Self::default();
        buffer.lock().bytes.extend(bytes);
        buffer
    }

    /// What waits.
    pub(super) fn copy(&self) -> Vec<u8> {
        self.lock().bytes.iter().copied().collect()
    }

    /// Whether bytes wait that nobody has tried to move on.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh.load(Ordering::SeqCst)
    }

    /// The caller tries to move on what is there, now.
    pub(super) fn take_note(&self) {
        self.fresh.store(false, Ordering::SeqCst);
    }

    /// Takes out at most `most` bytes.
    pub(super) fn take(&self, most: usize) -> Vec<u8> {
        let mut state = self.lock();
        let count = most.min(state.bytes.len());
        let taken = state.bytes.drain(..count).collect();
        if count > 0 {
            self.changed.notify_all();
        }
        taken
    }

    /// No more bytes go in.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Waits until there is room or `deadline` is past, and puts in as much as there is room for.
    fn put(&self, bytes: &[u8], deadline: Option<Instant>) -> io::Result<usize> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let count = (BUFFER_BYTES - state.bytes.len()).min(bytes.len());
            if count > 0 || bytes.is_empty() {
                state.bytes.extend(&bytes[..count]);
                self.fresh.store(true, Ordering::SeqCst);
                return Ok(count);
            }
            state = match deadline {
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keyboard of a VM's serial port: what is written here, the guest reads from `/dev/ttyS0`. Clones are
/// the same thing; it outlives its VM without harm.
///
/// Up to 4 KiB wait for the guest, from before its driver is there on. It gets them as fast as it takes
/// them; where its programs read slower than its driver does, Linux holds some hundred KiB, and with `stty
/// crtscts` stops the flow instead of losing what is more. A terminal that is not raw cuts lines that are
/// longer than 4095 bytes.
///
/// [`Write::write`] waits for room without end; it fails with [`BrokenPipe`](io::ErrorKind::BrokenPipe)
/// once the VM is ending. In callbacks of the same VM use [`try_write`](Self::try_write): they hold up the guest that
/// should make room.
#[derive(Clone)]
pub struct ConsoleInput {
    port: Arc<SerialPort>,
}

impl ConsoleInput {
    pub(crate) fn new(port: Arc<SerialPort>) -> Self {
        Self { port }
    }

    /// Writes as many of `bytes` as there is room for at this moment; returns how many.
    ///
    /// # Errors
    /// - [`WouldBlock`](io::ErrorKind::WouldBlock): there is no room at all.
    /// - [`BrokenPipe`](io::ErrorKind::BrokenPipe): the VM has ended.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes, Some(Instant::now()))
    }

    /// Writes all of `bytes`, or as many as the guest makes room for within `timeout`; returns how many.
    ///
    /// # Errors
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe): the VM has ended.
    pub fn write_timeout(&self, bytes: &[u8], timeout: Duration) -> io::Result<usize> {
        // A time that the clock can't express is as good as never.
        let deadline = Instant::now().checked_add(timeout);
        let mut done = 0;
        while done < bytes.len() {
            match self.put(&bytes[done..], deadline) {
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn put(&self, bytes: &[u8], deadline: Option<Instant>) -> io::Result<usize> {
        let count = self.port.input.put(bytes, deadline)?;
        self.port.feed_if_free();
        Ok(count)
    }
}

impl Write for ConsoleInput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes, None)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for ConsoleInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsoleInput").finish_non_exhaustive()
    }
}
