//! Tar streams in frames.
//!
//! Invariant: a writer holds one frame, and a reader the one that it was sent; both wait for the peer.

#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};

use super::frame::{DATA, HEADER_LEN};
use super::{Failure, Frame, MAX_DATA, ProtocolError, read_frame, write_frame};

/// Sends what is written to it as [`Frame::Data`].
#[derive(Debug)]
pub struct DataWriter<W: Write> {
    to: W,
    /// Room for the header, and what was not sent yet.
    frame: Vec<u8>,
}

impl<W: Write> DataWriter<W> {
    /// Writes to `to`.
    pub fn new(to: W) -> Self {
        let mut frame = Vec::with_capacity(HEADER_LEN + MAX_DATA);
        frame.resize(HEADER_LEN, 0);
        Self { to, frame }
    }

    fn send(&mut self) -> io::Result<()> {
        let len = self.frame.len() - HEADER_LEN;
        if len == 0 {
            return Ok(());
        }
        // It is at most MAX_DATA.
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        self.frame[0] = DATA;
        self.frame[1..HEADER_LEN].copy_from_slice(&len.to_le_bytes());
        self.to.write_all(&self.frame)?;
        self.frame.truncate(HEADER_LEN);
        Ok(())
    }

    /// Sends what is left, and the end of the stream.
    ///
    /// # Errors
    /// The connection's.
    pub fn finish(mut self) -> io::Result<W> {
        self.send()?;
        write_frame(&mut self.to, &Frame::DataEnd)?;
        Ok(self.to)
    }
}

impl<W: Write> Write for DataWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.frame.len() == HEADER_LEN + MAX_DATA {
            self.send()?;
        }
        let count = buf.len().min(HEADER_LEN + MAX_DATA - self.frame.len());
        self.frame.extend_from_slice(&buf[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()?;
        self.to.flush()
    }
}

/// Where frames come from.
pub trait FrameSource {
    /// The next frame; `None` at the end of the connection.
    ///
    /// # Errors
    /// Those of [`read_frame`].
    fn next_frame(&mut self) -> Result<Option<Frame>, ProtocolError>;
}

impl<R: Read> FrameSource for R {
    fn next_frame(&mut self) -> Result<Option<Frame>, ProtocolError> {
        read_frame(self)
    }
}

/// Why a tar stream ended too early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// Whoever sends it gave up.
    #[error("{}", .0.message)]
    Failed(Failure),
    /// The connection failed, or what came is no frame.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// A frame that has no place in a stream.
    #[error("a tar stream was interrupted by a frame of another kind")]
    Stray,
}

/// Reads the stream that comes in [`Frame::Data`], up to its end. An error of its reads is a [`StreamError`].
#[derive(Debug)]
pub struct DataReader<S> {
    from: S,
    current: Vec<u8>,
    used: usize,
    is_ended: bool,
}

impl<S: FrameSource> DataReader<S> {
    /// Reads from `from`.
    pub fn new(from: S) -> Self {
        Self {
            from,
            current: Vec::new(),
            used: 0,
            is_ended: false,
        }
    }

    /// What the frames came from, which goes on behind the end of the stream.
    pub fn into_inner(self) -> S {
        self.from
    }

    fn next_piece(&mut self) -> Result<(), StreamError> {
        match self.from.next_frame()? {
            // They could come for ever.
            Some(Frame::Data(piece)) if piece.is_empty() => return Err(StreamError::Stray),
            Some(Frame::Data(piece)) => (self.current, self.used) = (piece, 0),
            Some(Frame::DataEnd) => self.is_ended = true,
            Some(Frame::Failed(failure)) => return Err(StreamError::Failed(failure)),
            Some(_) => return Err(StreamError::Stray),
            None => return Err(ProtocolError::Truncated.into()),
        }
        Ok(())
    }
}

impl<S: FrameSource> Read for DataReader<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.used == self.current.len() && !self.is_ended && !buf.is_empty() {
            self.next_piece().map_err(io::Error::other)?;
        }
        let count = buf.len().min(self.current.len() - self.used);
        buf[..count].copy_from_slice(&self.current[self.used..self.used + count]);
        self.used += count;
        Ok(count)
    }
}
