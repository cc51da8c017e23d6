//! A connection between host and guest, as the host holds it.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Shared;
use super::connection::State;
use super::host::{deadline, is_past, wait};
use super::mux::{Id, gone};

/// A stream of bytes to and from the guest.
///
/// Reads and writes block, through a shared reference too, so one thread can read while another writes.
/// Each direction buffers up to 256 KiB; past that the writer waits for the reader, on either side.
///
/// - A read returns `Ok(0)` when the guest has shut down its sending side and all is read.
/// - Once either side has reset the connection, reads that find no more data, and all writes, fail with
///   [`ConnectionReset`](io::ErrorKind::ConnectionReset).
/// - Once the VM has ended, reads that find no more data, and all writes, fail with
///   [`BrokenPipe`](io::ErrorKind::BrokenPipe).
///
/// When the last clone is dropped, what was written still goes to the guest, and the connection is closed.
#[derive(Debug)]
pub struct VsockStream {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    id: Id,
    read_timeout: Mutex<Option<Duration>>,
    write_timeout: Mutex<Option<Duration>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut mux = self.shared.lock();
        mux.disown(self.id);
        self.shared.release(mux);
    }
}

impl VsockStream {
    pub(super) fn new(shared: Arc<Shared>, id: Id) -> Self {
        Self {
            inner: Arc::new(Inner {
                shared,
                id,
                read_timeout: Mutex::new(None),
                write_timeout: Mutex::new(None),
            }),
        }
    }

    /// Another handle of the same connection.
    ///
    /// # Errors
    /// None today; the signature is that of other streams.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            inner: Arc::clone(&self.inner),
        })
    }

    /// Limits how long a read waits, for all clones; `None`, as at the start, is without end. A read that
    /// passes the limit fails with [`TimedOut`](io::ErrorKind::TimedOut), and nothing is lost.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a limit of zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        set_limit(&self.inner.read_timeout, timeout)
    }

    /// Limits how long a write waits for a guest that takes nothing, for all clones; `None`, as at the start,
    /// is without end. A write that passes the limit fails with [`TimedOut`](io::ErrorKind::TimedOut), and
    /// none of its bytes are sent.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a limit of zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        set_limit(&self.inner.write_timeout, timeout)
    }

    /// Tells the guest that no more will come; it reads to the end of what was written, then an end of file.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the connection is over.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.shut_down(true, false)
    }

    /// Shuts down both directions: reads end at once, here and, after what was written, in the guest.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the connection is over.
    pub fn shutdown(&self) -> io::Result<()> {
        self.shut_down(true, true)
    }

    /// Breaks the connection off for all clones, at once: what was written and not yet sent, and what was received and
    /// not yet read, is dropped, and the guest is told by a reset that overtakes the rest. From then on reads and writes
    /// fail with [`ConnectionReset`](io::ErrorKind::ConnectionReset), those too that are waiting. Does nothing if the
    /// connection is over.
    pub fn abort(&self) {
        let Inner { shared, id, .. } = &*self.inner;
        let mut mux = shared.lock();
        mux.break_off(*id);
        shared.release(mux);
    }

    fn shut_down(&self, send: bool, receive: bool) -> io::Result<()> {
        let Inner { shared, id, .. } = &*self.inner;
        let mut mux = shared.lock();
        let Some(connection) = mux.connection(*id).filter(|c| c.state == State::Open) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        connection.shut_down(send, receive);
        connection.changed.notify_all();
        mux.changed(*id);
        shared.release(mux);
        Ok(())
    }
}

fn limit(limit: &Mutex<Option<Duration>>) -> Option<Duration> {
    *limit.lock().unwrap_or_else(PoisonError::into_inner)
}

fn set_limit(limit: &Mutex<Option<Duration>>, value: Option<Duration>) -> io::Result<()> {
    if value.is_some_and(|value| value.is_zero()) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    *limit.lock().unwrap_or_else(PoisonError::into_inner) = value;
    Ok(())
}

impl Read for &VsockStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Inner { shared, id, .. } = &*self.inner;
        let deadline = deadline(limit(&self.inner.read_timeout));
        let mut mux = shared.lock();
        loop {
            let is_gone = mux.is_gone();
            let Some(connection) = mux.connection(*id) else {
                return Err(io::ErrorKind::ConnectionReset.into());
            };
            let count = connection.read(buf);
            if count > 0 || buf.is_empty() {
                mux.changed(*id);
                shared.release(mux);
                return Ok(count);
            }
            if connection.at_end() {
                return Ok(0);
            }
            if is_gone {
                return Err(gone());
            }
            if connection.state == State::Reset {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if is_past(deadline) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let changed = Arc::clone(&connection.changed);
            mux = wait(&changed, mux, deadline);
        }
    }
}

impl Write for &VsockStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let Inner { shared, id, .. } = &*self.inner;
        let deadline = deadline(limit(&self.inner.write_timeout));
        let mut mux = shared.lock();
        loop {
            if mux.is_gone() {
                return Err(gone());
            }
            let Some(connection) = mux.connection(*id) else {
                return Err(io::ErrorKind::ConnectionReset.into());
            };
            if connection.state == State::Reset {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if !connection.can_send() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let count = connection.write(buf);
            if count > 0 || buf.is_empty() {
                mux.changed(*id);
                shared.release(mux);
                return Ok(count);
            }
            if is_past(deadline) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let changed = Arc::clone(&connection.changed);
            mux = wait(&changed, mux, deadline);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for VsockStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Write for VsockStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
