//! The host's side of the control connection: from the agent's first words to the power-off.
//!
//! Pure protocol over any stream; deadlines are the stream's.

mod channel;
mod timed;

use std::io::{self, Read, Write};

use agent::protocol::{Config, Fatal, Frame, Ready, read_frame, write_frame};

use crate::error::{Error, Repr};

pub(crate) use channel::{Channel, Talk};
#[cfg(feature = "fuzzing")]
pub(crate) use timed::Limits;
pub(crate) use timed::Timed;

/// Waits for the agent to introduce itself.
pub(crate) fn hear_hello(stream: &mut impl Read) -> Result<(), Error> {
    match next(stream)? {
        Frame::Hello(hello) => Ok(hello.check()?),
        _ => Err(confused("its first frame is not Hello")),
    }
}

/// Tells the agent what its guest shall be, and waits until it takes commands.
pub(crate) fn configure(stream: &mut (impl Read + Write), config: Config) -> Result<Ready, Error> {
    let sent = send(stream, &Frame::Configure(config), "configuring the guest");
    sent.map_err(|error| match error.io_kind() {
        Some(io::ErrorKind::InvalidInput) => Repr::ConfigTooLong.into(),
        _ => error,
    })?;
    match next(stream)? {
        Frame::Ready(ready) => Ok(ready),
        _ => Err(confused(
            "it answered Configure with something else than Ready",
        )),
    }
}

fn next(stream: &mut impl Read) -> Result<Frame, Error> {
    read_frame(stream)?.map_or_else(|| Err(closed()), unless_fatal)
}

fn unless_fatal(frame: Frame) -> Result<Frame, Error> {
    match frame {
        Frame::Fatal(Fatal { message }) => Err(Repr::Agent { message }.into()),
        frame => Ok(frame),
    }
}

fn closed() -> Error {
    confused("it closed the control connection")
}

fn send(stream: &mut impl Write, frame: &Frame, doing: &'static str) -> Result<(), Error> {
    Ok(write_frame(stream, frame).map_err(|source| Repr::Connection { doing, source })?)
}

fn confused(what: &'static str) -> Error {
    Repr::AgentConfused { what }.into()
}

#[cfg(test)]
mod tests;
