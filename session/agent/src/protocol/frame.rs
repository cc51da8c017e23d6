//! Frames as bytes.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | type |
//! | 1 | 4 | payload length, little endian, at most [`MAX_FRAME`] |
//! | 5 | length | payload: JSON, plain bytes, or nothing, by type |
//!
//! Invariant: a frame that was decoded encodes to a frame that decodes to the same value.

#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::{DeserializeOwned, Error};

use super::message::tame;
use super::{
    Address, Config, Copied, Exec, ExitStatus, Failure, Fatal, Freeze, Frozen, Hello, Listen,
    MAX_DATA, MAX_FRAME, Notice, Pack, PowerOff, ProtocolError, Ready, TerminalSize, Unpack,
};

pub(super) const HEADER_LEN: usize = 5;

/// The type of [`Frame::Data`].
pub(super) const DATA: u8 = 26;

/// One message of either side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Agent: who it is. Type 1.
    Hello(Hello),
    /// Host: what the guest shall be. Type 2.
    Configure(Config),
    /// Agent: the command port is open. Type 3.
    Ready(Ready),
    /// Agent: it gave up, and the guest powers off. Type 4.
    Fatal(Fatal),
    /// Host: shut down. Type 7.
    PowerOff(PowerOff),
    /// Agent: the shutdown has begun. Type 8.
    PoweringOff,
    /// Host: run a command. Type 16.
    Exec(Exec),
    /// Host: bytes for the command's standard input. Type 17.
    Stdin(Vec<u8>),
    /// Host: the standard input ends here. Type 18.
    StdinEnd,
    /// Host: send this signal to the command's process group. Type 19.
    Signal(i32),
    /// Agent: bytes that the command wrote to its standard output. Type 20.
    Stdout(Vec<u8>),
    /// Agent: bytes that the command wrote to its standard error. Type 21.
    Stderr(Vec<u8>),
    /// Agent: the command ended. Type 22.
    Exit(ExitStatus),
    /// Agent: a request was not carried out. Type 23.
    Failed(Failure),
    /// Host: hold the file systems still. Type 32.
    Freeze(Freeze),
    /// Agent: they are. Type 33.
    Frozen(Frozen),
    /// Host: let them go on. Type 34.
    Thaw,
    /// Agent: they go on, and had been still until now. Type 35.
    Thawed,
    /// Host: show this on the terminals. Type 36.
    Notice(Notice),
    /// Agent: it was shown to whoever is there. Type 37.
    Noticed,
    /// Host: send files as a tar stream. Type 24.
    Pack(Pack),
    /// Host: make the files of the tar stream that follows. Type 25.
    Unpack(Unpack),
    /// Either: a piece of a tar stream. Type 26.
    Data(Vec<u8>),
    /// Either: the tar stream ends here. Type 27.
    DataEnd,
    /// Agent: all of a tar stream was packed or unpacked. Type 28.
    Copied(Copied),
    /// Host: connect to this address in the guest. Type 29.
    Connect(Address),
    /// Agent: what follows on this connection goes to the address and comes from it. Type 30.
    Connected,
    /// Host: the command's terminal has this size now. Type 31.
    Resize(TerminalSize),
    /// Host: listen in the guest. Type 64.
    Listen(Listen),
    /// Agent: it listens at this address, until this connection closes. Type 65.
    Listening(Address),
}

impl Frame {
    fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => 1,
            Self::Configure(_) => 2,
            Self::Ready(_) => 3,
            Self::Fatal(_) => 4,
            Self::PowerOff(_) => 7,
            Self::PoweringOff => 8,
            Self::Exec(_) => 16,
            Self::Stdin(_) => 17,
            Self::StdinEnd => 18,
            Self::Signal(_) => 19,
            Self::Stdout(_) => 20,
            Self::Stderr(_) => 21,
            Self::Exit(_) => 22,
            Self::Failed(_) => 23,
            Self::Freeze(_) => 32,
            Self::Frozen(_) => 33,
            Self::Thaw => 34,
            Self::Thawed => 35,
            Self::Notice(_) => 36,
            Self::Noticed => 37,
            Self::Pack(_) => 24,
            Self::Unpack(_) => 25,
            Self::Data(_) => DATA,
            Self::DataEnd => 27,
            Self::Copied(_) => 28,
            Self::Connect(_) => 29,
            Self::Connected => 30,
            Self::Resize(_) => 31,
            Self::Listen(_) => 64,
            Self::Listening(_) => 65,
        }
    }

    pub(super) fn from_parts(kind: u8, payload: Vec<u8>) -> Result<Self, ProtocolError> {
        Ok(match kind {
            1 => Self::Hello(json(kind, &payload)?),
            2 => Self::Configure(json(kind, &payload)?),
            3 => Self::Ready(json(kind, &payload)?),
            4 => Self::Fatal(json(kind, &payload)?),
            7 => Self::PowerOff(json(kind, &payload)?),
            8 => nothing(kind, &payload, Self::PoweringOff)?,
            16 => Self::Exec(json(kind, &payload)?),
            17 => Self::Stdin(payload),
            18 => nothing(kind, &payload, Self::StdinEnd)?,
            19 => Self::Signal(json(kind, &payload)?),
            20 => Self::Stdout(payload),
            21 => Self::Stderr(payload),
            22 => Self::Exit(json(kind, &payload)?),
            23 => Self::Failed(json(kind, &payload)?),
            32 => Self::Freeze(json(kind, &payload)?),
            33 => Self::Frozen(json(kind, &payload)?),
            34 => nothing(kind, &payload, Self::Thaw)?,
            35 => nothing(kind, &payload, Self::Thawed)?,
            36 => Self::Notice(json(kind, &payload)?),
            37 => nothing(kind, &payload, Self::Noticed)?,
            24 => Self::Pack(json(kind, &payload)?),
            25 => Self::Unpack(json(kind, &payload)?),
            DATA => Self::Data(payload),
            27 => nothing(kind, &payload, Self::DataEnd)?,
            28 => Self::Copied(json(kind, &payload)?),
            29 => Self::Connect(json(kind, &payload)?),
            30 => nothing(kind, &payload, Self::Connected)?,
            31 => Self::Resize(json(kind, &payload)?),
            64 => Self::Listen(json(kind, &payload)?),
            65 => Self::Listening(json(kind, &payload)?),
            _ => return Err(ProtocolError::UnknownType { kind }),
        })
    }

    /// Appends the frame's bytes to `out`.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if the payload passes [`MAX_FRAME`]; `out` is then unchanged.
    pub fn encode(&self, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Stdin(data) | Self::Stdout(data) | Self::Stderr(data) | Self::Data(data) => {
                put(out, self.kind(), data)
            }
            Self::PoweringOff
            | Self::StdinEnd
            | Self::Thaw
            | Self::Thawed
            | Self::Noticed
            | Self::DataEnd
            | Self::Connected => put(out, self.kind(), &[]),
            Self::Hello(message) => put_json(out, self.kind(), message),
            Self::Configure(message) => put_json(out, self.kind(), message),
            Self::Ready(message) => put_json(out, self.kind(), message),
            Self::Fatal(message) => put_json(out, self.kind(), message),
            Self::PowerOff(message) => put_json(out, self.kind(), message),
            Self::Exec(message) => put_json(out, self.kind(), message),
            Self::Signal(message) => put_json(out, self.kind(), message),
            Self::Exit(message) => put_json(out, self.kind(), message),
            Self::Failed(message) => put_json(out, self.kind(), message),
            Self::Freeze(message) => put_json(out, self.kind(), message),
            Self::Frozen(message) => put_json(out, self.kind(), message),
            Self::Notice(message) => put_json(out, self.kind(), message),
            Self::Pack(message) => put_json(out, self.kind(), message),
            Self::Unpack(message) => put_json(out, self.kind(), message),
            Self::Copied(message) => put_json(out, self.kind(), message),
            Self::Connect(message) | Self::Listening(message) => {
                put_json(out, self.kind(), message)
            }
            Self::Resize(message) => put_json(out, self.kind(), message),
            Self::Listen(message) => put_json(out, self.kind(), message),
        }
    }
}

fn json<T: DeserializeOwned>(kind: u8, payload: &[u8]) -> Result<T, ProtocolError> {
    serde_json::from_slice(payload).map_err(|error: serde_json::Error| {
        // It quotes what the peer sent.
        let source = serde_json::Error::custom(tame(error.to_string()));
        ProtocolError::Payload { kind, source }
    })
}

fn nothing(kind: u8, payload: &[u8], frame: Frame) -> Result<Frame, ProtocolError> {
    if payload.is_empty() {
        return Ok(frame);
    }
    Err(ProtocolError::UnexpectedPayload {
        kind,
        len: payload.len(),
    })
}

fn put(out: &mut Vec<u8>, kind: u8, payload: &[u8]) -> io::Result<()> {
    let len = u32::try_from(payload.len())
        .ok()
        .filter(|_| payload.len() <= MAX_FRAME)
        .ok_or_else(|| {
            let text = format!(
                "a frame of {} bytes passes the limit of {MAX_FRAME}",
                payload.len()
            );
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })?;
    out.reserve(HEADER_LEN + payload.len());
    out.push(kind);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(payload);
    Ok(())
}

fn put_json<T: Serialize>(out: &mut Vec<u8>, kind: u8, message: &T) -> io::Result<()> {
    put(out, kind, &serde_json::to_vec(message)?)
}

/// Returns the type and the payload length that a header announces.
pub(super) fn parse_header(header: [u8; HEADER_LEN]) -> Result<(u8, usize), ProtocolError> {
    let [kind, len @ ..] = header;
    let len = u32::from_le_bytes(len);
    match usize::try_from(len) {
        Ok(bytes) if bytes <= MAX_FRAME => Ok((kind, bytes)),
        _ => Err(ProtocolError::TooLong { kind, len }),
    }
}

/// Writes one frame with a single `write_all`.
///
/// # Errors
/// Those of `out`, and [`io::ErrorKind::InvalidInput`] for a payload that passes [`MAX_FRAME`].
pub fn write_frame(out: &mut impl Write, frame: &Frame) -> io::Result<()> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes)?;
    out.write_all(&bytes)
}

/// Reads one frame; `None` if the connection ended before it.
///
/// Memory grows with the bytes that arrive, not with the length that the peer claims, but for the first [`MAX_DATA`].
///
/// # Errors
/// Any [`ProtocolError`] but `Version`. The connection is then of no further use, even after a timeout: part of a
/// frame may be lost. A reader that must survive those feeds a [`Decoder`](super::Decoder).
pub fn read_frame(input: &mut impl Read) -> Result<Option<Frame>, ProtocolError> {
    let mut header = Vec::with_capacity(HEADER_LEN);
    read_up_to(input, HEADER_LEN, &mut header)?;
    if header.is_empty() {
        return Ok(None);
    }
    let (kind, len) = parse_header(header.try_into().map_err(|_| ProtocolError::Truncated)?)?;
    let mut payload = Vec::with_capacity(len.min(MAX_DATA));
    read_up_to(input, len, &mut payload)?;
    if payload.len() < len {
        return Err(ProtocolError::Truncated);
    }
    Frame::from_parts(kind, payload).map(Some)
}

fn read_up_to(input: &mut impl Read, len: usize, into: &mut Vec<u8>) -> Result<(), ProtocolError> {
    let limit = u64::try_from(len).unwrap_or(u64::MAX);
    input
        .take(limit)
        .read_to_end(into)
        .map(drop)
        .map_err(|source| ProtocolError::Io { source })
}
