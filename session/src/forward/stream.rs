//! A stream to a program in the guest.

use std::io::{self, Read, Write};
use std::sync::Arc;

use agent::protocol::{Address, Frame, read_frame, write_frame};

use crate::command::{Connection, Guest, Patient, unless_silent};
use crate::error::{Error, Repr};

/// A stream of bytes to and from a program that listens in the guest.
///
/// Reads and writes block; one handle may read while another writes. A side that is slow is waited for: about 256 KiB
/// are under way in each direction. When the last handle is dropped, what was written still goes to the guest.
#[derive(Debug)]
pub struct GuestStream {
    connection: Box<dyn Connection>,
}

impl GuestStream {
    pub(super) fn new(connection: Box<dyn Connection>) -> Self {
        Self { connection }
    }

    /// Another handle of the same stream.
    ///
    /// # Errors
    /// None today; the signature is that of other streams.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            connection: self.connection.try_clone()?,
        })
    }

    /// Tells the program that no more will come; it can still be read from.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the stream is over.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.connection.shutdown_write()
    }

    /// Ends it at once, for all handles: reads and writes that wait fail.
    pub fn abort(&self) {
        self.connection.hang_up();
    }
}

impl Read for GuestStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.connection.read(buf)
    }
}

impl Write for GuestStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.connection.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.connection.flush()
    }
}

/// Connects to an address in the guest.
pub(crate) fn connect(guest: &Arc<dyn Guest>, address: &Address) -> Result<GuestStream, Error> {
    let connection = guest.connect()?;
    let mut stream = Unconnected(Some(connection));
    match stream.ask(guest, &Frame::Connect(address.clone()))? {
        Frame::Connected => {
            guest.has_answered();
            stream.connected()
        }
        _ => Err(Repr::AgentConfused {
            what: "it answered Connect with something else than Connected",
        }
        .into()),
    }
}

/// A connection whose agent has not answered; dropping it hangs up.
#[derive(Debug)]
pub(super) struct Unconnected(pub(super) Option<Box<dyn Connection>>);

impl Unconnected {
    /// Says what the connection is for, and waits for the answer.
    pub(super) fn ask(&mut self, guest: &Arc<dyn Guest>, first: &Frame) -> Result<Frame, Error> {
        let doing = "asking for a stream";
        let gone = || Repr::AgentConfused {
            what: "it closed a connection without an answer",
        };
        let connection = self.0.as_ref().ok_or_else(gone)?;
        let failed = |source| guest.explain(Repr::Connection { doing, source }.into());
        let mut patient = Patient::for_answer(guest, connection.try_clone().map_err(failed)?);
        let explain = |error: Error| guest.explain(unless_silent(error, doing, guest.patience()));
        write_frame(&mut patient, first)
            .map_err(|source| explain(Repr::Connection { doing, source }.into()))?;
        match read_frame(&mut patient) {
            Ok(Some(Frame::Failed(failure))) => Err(Repr::Refused {
                message: failure.message,
            }
            .into()),
            Ok(Some(frame)) => {
                patient.end().map_err(failed)?;
                Ok(frame)
            }
            Ok(None) => Err(guest.explain(gone().into())),
            Err(error) => Err(explain(error.into())),
        }
    }

    fn connected(mut self) -> Result<GuestStream, Error> {
        let connection = self.0.take().ok_or(Repr::AgentConfused {
            what: "it closed a connection without an answer",
        })?;
        Ok(GuestStream::new(connection))
    }
}

impl Drop for Unconnected {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.hang_up();
        }
    }
}
