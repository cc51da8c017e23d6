//! What a command needs of its guest.

use std::fmt;
use std::io::{self, Read, Write};

use vmm_core::VsockStream;

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

    /// Is told when a command has ended.
    fn has_answered(&self) {}

    /// The better error for a connection that failed with `error`: that the guest is gone, if it is.
    fn explain(&self, error: Error) -> Error;
}

/// A connection to the agent; one side may read while the other writes.
pub(crate) trait Connection: Read + Write + fmt::Debug + Send + Sync {
    /// Another handle of the same connection.
    fn try_clone(&self) -> io::Result<Box<dyn Connection>>;

    /// Ends it for all handles, without waiting for what was written to be taken; a command that still runs is then killed by the agent.
    fn hang_up(&self);
}

impl Connection for VsockStream {
    fn try_clone(&self) -> io::Result<Box<dyn Connection>> {
        Ok(Box::new(VsockStream::try_clone(self)?))
    }

    fn hang_up(&self) {
        // A shutdown would queue behind input that the command has not read.
        self.abort();
    }
}
