//! A network behind a Unix stream socket: each frame follows its length, 4 bytes, big-endian.
//!
//! `passt --socket` speaks this, and so does QEMU's `-netdev stream`.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{MAX_FRAME_BYTES, NetBackend, NetError, OffloadHeader};

const LENGTH_BYTES: usize = 4;
/// Bytes that are read from the socket at once, at most: the longest frame, or many short ones.
const BUFFER_BYTES: usize = 2 * (LENGTH_BYTES + MAX_FRAME_BYTES);

/// A network that another process provides, for instance `passt`, which needs no privileges.
///
/// If the other process ends, or breaks the protocol, the guest's network is gone, and the VM goes on.
#[derive(Debug)]
pub struct FrameStream {
    socket: UnixStream,
    /// What came and is no whole frame yet, or was not asked for.
    incoming: Incoming,
    /// The rest of a frame of which the socket took a part.
    outgoing: Vec<u8>,
}

impl FrameStream {
    /// Connects to a process that listens on the socket at `path`, like `passt --socket PATH`.
    ///
    /// # Errors
    /// [`NetError::Socket`] if nobody listens there.
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, NetError> {
        let path = path.as_ref();
        let socket = UnixStream::connect(path).map_err(|source| NetError::Socket {
            path: path.to_owned(),
            source,
        })?;
        Self::from_socket(socket)
    }

    /// Takes a socket that is connected.
    ///
    /// # Errors
    /// [`NetError::Host`] if it can't be made non-blocking.
    pub fn from_socket(socket: UnixStream) -> Result<Self, NetError> {
        socket
            .set_nonblocking(true)
            .map_err(|source| NetError::Host {
                action: "make a socket non-blocking",
                source,
            })?;
        Ok(Self {
            socket,
            incoming: Incoming::new(),
            outgoing: Vec::new(),
        })
    }
}

impl AsFd for FrameStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl NetBackend for FrameStream {
    fn receive(&mut self, frame: &mut [u8], _offload: &mut OffloadHeader) -> io::Result<usize> {
        loop {
            if let Some(length) = self.incoming.next(frame)? {
                return Ok(length);
            }
            match self.socket.read(self.incoming.room())? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.incoming.end += count,
            }
        }
    }

    fn send(&mut self, frame: &[u8], _offload: &OffloadHeader) -> io::Result<()> {
        self.flush()?;
        let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
        let length = length.to_be_bytes();
        let parts = [IoSlice::new(&length), IoSlice::new(frame)];
        let written = self.socket.write_vectored(&parts)?;
        if written < LENGTH_BYTES {
            self.outgoing.extend(&length[written..]);
        }
        let of_frame = written.saturating_sub(LENGTH_BYTES).min(frame.len());
        self.outgoing.extend(&frame[of_frame..]);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match self.socket.write(&self.outgoing)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => drop(self.outgoing.drain(..count)),
            }
        }
        Ok(())
    }
}

/// Cuts what comes into frames.
#[derive(Debug)]
struct Incoming {
    /// Bytes that are not cut yet are at `start..end`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// The other side breaks the protocol, and where its next frame begins can't be told.
#[derive(Debug, thiserror::Error)]
#[error("the peer announced a frame of {length} bytes: at most {MAX_FRAME_BYTES} are allowed")]
struct FrameTooLong {
    length: u32,
}

impl Incoming {
    fn new() -> Self {
        Self {
            bytes: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
        }
    }

    /// Copies the next frame to `target` and returns its length; `None` if it is not all there.
    fn next(&mut self, target: &mut [u8]) -> io::Result<Option<usize>> {
        let there = &self.bytes[self.start..self.end];
        let Some((length, rest)) = there.split_first_chunk() else {
            return Ok(None);
        };
        let announced = u32::from_be_bytes(*length);
        let length = usize::try_from(announced).unwrap_or(usize::MAX);
        if length > MAX_FRAME_BYTES || length > target.len() {
            let error = FrameTooLong { length: announced };
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        let Some(frame) = rest.get(..length) else {
            return Ok(None);
        };
        target[..length].copy_from_slice(frame);
        self.start += LENGTH_BYTES + length;
        Ok(Some(length))
    }

    /// Where more bytes go. There is always room: what has no whole frame in it fills less than half of the
    /// buffer.
    fn room(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        &mut self.bytes[self.end..]
    }
}

#[cfg(test)]
mod tests;
