//! What a command, and whatever else reaches in, needs of its guest.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::{Arc, Weak};
use std::time::Duration;

use vmm_core::{VsockListener, VsockStream};

use super::patient::PATIENCE;
use crate::activity::Occupied;
use crate::error::Error;

/// A guest that commands are sent to.
pub(crate) trait Guest: fmt::Debug + Send + Sync {
    /// A new connection to the agent's command port.
    fn connect(&self) -> Result<Box<dyn Connection>, Error>;

    /// Is told that a command runs, until the result is dropped.
    fn occupy(&self) -> Occupied {
        Occupied::default()
    }
    /// A port of the host's that the guest can connect to.
    fn listen(&self) -> Result<Arc<dyn Incoming>, Error>;

    /// Has `open` closed when the guest ends.
    fn close_at_end(&self, open: Weak<dyn Close>) -> Result<(), Error>;

    /// Is told that the agent has answered a command or another job.
    fn has_answered(&self) {}

    /// How long its agent may take for a first answer.
    fn patience(&self) -> Duration {
        PATIENCE
    }

    /// Whether it can do nothing, as its session is paused.
    fn stands_still(&self) -> bool {
        false
    }

    /// The better error for a connection that failed with `error`: that the guest is gone, if it is.
    fn explain(&self, error: Error) -> Error;
}

/// A connection to the agent; one side may read while the other writes.
pub(crate) trait Connection: Read + Write + fmt::Debug + Send + Sync {
    /// Another handle of the same connection.
    fn try_clone(&self) -> io::Result<Box<dyn Connection>>;

    /// Tells the guest that no more will come.
    fn shutdown_write(&self) -> io::Result<()>;

    /// Limits how long a read waits, for all handles: it then fails with `TimedOut` or `WouldBlock`, and nothing is lost.
    fn limit_reads(&self, limit: Option<Duration>) -> io::Result<()>;

    /// Limits how long a write waits, for all handles, likewise.
    fn limit_writes(&self, limit: Option<Duration>) -> io::Result<()>;

    /// Ends it for all handles, without waiting for what was written to be taken; a command that still runs is then killed by the agent.
    fn hang_up(&self);
}

/// A port that the guest connects to.
pub(crate) trait Incoming: fmt::Debug + Send + Sync {
    /// The port's number.
    fn port(&self) -> u32;

    /// Waits for the next connection; fails once it is closed.
    fn accept(&self) -> io::Result<Box<dyn Connection>>;

    /// Takes no more connections.
    fn close(&self);
}

/// Something that must not outlive its guest.
pub(crate) trait Close: fmt::Debug + Send + Sync {
    /// Ends it, as far as that takes no time.
    fn close(&self);
}

impl Incoming for VsockListener {
    fn port(&self) -> u32 {
        VsockListener::port(self)
    }

    fn accept(&self) -> io::Result<Box<dyn Connection>> {
        Ok(Box::new(VsockListener::accept(self, None)?))
    }

    fn close(&self) {
        VsockListener::close(self);
    }
}

impl Connection for VsockStream {
    fn try_clone(&self) -> io::Result<Box<dyn Connection>> {
        Ok(Box::new(VsockStream::try_clone(self)?))
    }

    fn shutdown_write(&self) -> io::Result<()> {
        VsockStream::shutdown_write(self)
    }

    fn limit_reads(&self, limit: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(limit)
    }

    fn limit_writes(&self, limit: Option<Duration>) -> io::Result<()> {
        self.set_write_timeout(limit)
    }

    fn hang_up(&self) {
        // A shutdown would queue behind input that the command has not read.
        self.abort();
    }
}
