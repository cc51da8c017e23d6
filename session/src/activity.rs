//! What is done with a session from without, as far as it keeps the session from being idle.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::command::{Connection, Incoming};

/// Counts of one session.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    commands: AtomicUsize,
    uses: AtomicU64,
}

impl Activity {
    /// The session is in use at this moment.
    pub(crate) fn touch(&self) {
        self.used(1);
    }

    /// So many bytes have gone to or from the guest.
    pub(crate) fn used(&self, bytes: u64) {
        self.uses.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn commands(&self) -> usize {
        self.commands.load(Ordering::Relaxed)
    }

    pub(crate) fn uses(&self) -> u64 {
        self.uses.load(Ordering::Relaxed)
    }

    /// A command runs, until this is dropped.
    pub(crate) fn command(self: &Arc<Self>) -> Occupied {
        self.commands.fetch_add(1, Ordering::Relaxed);
        Occupied(Some(Arc::clone(self)))
    }
}

/// Keeps a session from being idle while it lives.
#[derive(Debug, Default)]
pub(crate) struct Occupied(Option<Arc<Activity>>);

impl Drop for Occupied {
    fn drop(&mut self) {
        if let Some(activity) = &self.0 {
            activity.touch();
            activity.commands.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A connection whose bytes are counted.
#[derive(Debug)]
pub(crate) struct Counted<C> {
    connection: C,
    activity: Arc<Activity>,
}

impl<C> Counted<C> {
    pub(crate) fn new(connection: C, activity: Arc<Activity>) -> Self {
        Self {
            connection,
            activity,
        }
    }

    fn count(&self, done: io::Result<usize>) -> io::Result<usize> {
        done.inspect(|bytes| self.activity.used(*bytes as u64))
    }
}

impl<C: Read> Read for Counted<C> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let done = self.connection.read(buf);
        self.count(done)
    }
}

impl<C: Write> Write for Counted<C> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let done = self.connection.write(buf);
        self.count(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.connection.flush()
    }
}

impl Connection for Counted<Box<dyn Connection>> {
    fn try_clone(&self) -> io::Result<Box<dyn Connection>> {
        Ok(Box::new(Self {
            connection: self.connection.try_clone()?,
            activity: Arc::clone(&self.activity),
        }))
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.connection.shutdown_write()
    }

    fn limit_reads(&self, limit: Option<Duration>) -> io::Result<()> {
        self.connection.limit_reads(limit)
    }

    fn limit_writes(&self, limit: Option<Duration>) -> io::Result<()> {
        self.connection.limit_writes(limit)
    }

    fn hang_up(&self) {
        self.connection.hang_up();
    }
}

/// A port that the guest connects to, with connections whose bytes are counted.
#[derive(Debug)]
pub(crate) struct CountedPort<P> {
    port: P,
    activity: Arc<Activity>,
}

impl<P> CountedPort<P> {
    pub(crate) fn new(port: P, activity: Arc<Activity>) -> Self {
        Self { port, activity }
    }
}

impl<P: Incoming> Incoming for CountedPort<P> {
    fn port(&self) -> u32 {
        self.port.port()
    }

    fn accept(&self) -> io::Result<Box<dyn Connection>> {
        let connection = self.port.accept()?;
        let activity = Arc::clone(&self.activity);
        Ok(Box::new(Counted::new(connection, activity)))
    }

    fn close(&self) {
        self.port.close();
    }
}
