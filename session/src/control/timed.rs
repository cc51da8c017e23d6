//! A stream with one deadline for all that is said on it.
//!
//! Invariant: no read or write waits past the deadline, however many of them there are.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use vmm_core::VsockStream;

/// A stream whose single reads and writes can be limited.
pub(crate) trait Limits {
    /// Limits the next reads and writes to `limit`, which isn't zero; `None` is without end.
    fn limit(&self, limit: Option<Duration>) -> io::Result<()>;
}

impl Limits for VsockStream {
    fn limit(&self, limit: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(limit)?;
        self.set_write_timeout(limit)
    }
}

/// A stream until a deadline; then it fails with [`TimedOut`](io::ErrorKind::TimedOut).
#[derive(Debug)]
pub(crate) struct Timed<'a, S> {
    stream: &'a S,
    /// `None` is never.
    deadline: Option<Instant>,
}

impl<'a, S: Limits> Timed<'a, S> {
    pub(crate) fn new(stream: &'a S, deadline: Option<Instant>) -> Self {
        Self { stream, deadline }
    }

    fn limit(&self) -> io::Result<()> {
        let left = self
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.limit(left)
    }
}

impl<'a, S: Limits> Read for Timed<'a, S>
where
    &'a S: Read,
{
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.limit()?;
        self.stream.read(buf)
    }
}

impl<'a, S: Limits> Write for Timed<'a, S>
where
    &'a S: Write,
{
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.limit()?;
        self.stream.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
