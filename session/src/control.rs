//! The host's side of the control connection: from the agent's first words to the power-off.
//!
//! Pure protocol over any stream; deadlines are the stream's.

mod timed;

use std::io::{self, Read, Write};

use std::time::Duration;

use agent::protocol::{
    Config, Frame, Freeze, Frozen, Notice, PowerOff, Ready, read_frame, write_frame,
};

use crate::error::{Error, Repr};

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

/// Asks the guest to shut down; it has begun to when this returns.
pub(crate) fn power_off(stream: &mut (impl Read + Write), grace_ms: u32) -> Result<(), Error> {
    let request = Frame::PowerOff(PowerOff { grace_ms });
    send(stream, &request, "asking the guest to power off")?;
    match next(stream)? {
        Frame::PoweringOff => Ok(()),
        Frame::Failed(failure) => Err(refused(failure.message)),
        _ => Err(confused("it answered PowerOff with something else")),
    }
}

/// Makes the guest's file systems hold still, for `limit_ms` at most. Returns how long that took the guest.
pub(crate) fn freeze(stream: &mut (impl Read + Write), limit_ms: u32) -> Result<Duration, Error> {
    let request = Frame::Freeze(Freeze { limit_ms });
    send(stream, &request, "freezing its file systems")?;
    match next(stream)? {
        Frame::Frozen(Frozen { took_us }) => Ok(Duration::from_micros(took_us)),
        Frame::Failed(failure) => Err(refused(failure.message)),
        _ => Err(confused("it answered Freeze with something else")),
    }
}

/// Lets the guest's file systems go on. An error, too, if they had not been still until now.
pub(crate) fn thaw(stream: &mut (impl Read + Write)) -> Result<(), Error> {
    send(stream, &Frame::Thaw, "thawing its file systems")?;
    match next(stream)? {
        Frame::Thawed => Ok(()),
        Frame::Failed(failure) => Err(refused(failure.message)),
        _ => Err(confused("it answered Thaw with something else")),
    }
}

/// Shows a line to whoever sits at the guest's terminals.
pub(crate) fn notice(stream: &mut (impl Read + Write), text: String) -> Result<(), Error> {
    let request = Frame::Notice(Notice { text });
    send(stream, &request, "telling its users something")?;
    match next(stream)? {
        Frame::Noticed => Ok(()),
        Frame::Failed(failure) => Err(refused(failure.message)),
        _ => Err(confused("it answered Notice with something else")),
    }
}

fn refused(message: String) -> Error {
    Repr::Agent { message }.into()
}

fn next(stream: &mut impl Read) -> Result<Frame, Error> {
    match read_frame(stream)? {
        Some(Frame::Fatal(fatal)) => Err(Repr::Agent {
            message: fatal.message,
        }
        .into()),
        Some(frame) => Ok(frame),
        None => Err(confused("it closed the control connection")),
    }
}

fn send(stream: &mut impl Write, frame: &Frame, doing: &'static str) -> Result<(), Error> {
    Ok(write_frame(stream, frame).map_err(|source| Repr::Connection { doing, source })?)
}

fn confused(what: &'static str) -> Error {
    Repr::AgentConfused { what }.into()
}

#[cfg(test)]
mod tests;
