//! Frames out of bytes that arrive in pieces.
//!
//! Invariant: it yields what [`read_frame`](super::read_frame) would have read from the same bytes.

#[cfg(test)]
mod tests;

use super::ProtocolError;
use super::frame::{Frame, HEADER_LEN, parse_header};

/// How many used-up bytes a [`Decoder`] keeps before it moves the rest to the front.
const COMPACT_AT: usize = 64 << 10;

/// Turns bytes, in pieces of any size, into frames.
///
/// ```
/// use agent::protocol::{Decoder, Frame};
///
/// let mut decoder = Decoder::default();
/// decoder.push(&[18, 0, 0]);
/// assert_eq!(decoder.next_frame()?, None);
/// decoder.push(&[0, 0]);
/// assert_eq!(decoder.next_frame()?, Some(Frame::StdinEnd));
/// # Ok::<(), agent::protocol::ProtocolError>(())
/// ```
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// How many of `bytes` belong to frames that were handed out.
    used: usize,
}

impl Decoder {
    /// Takes bytes that the peer sent. Call [`Self::next_frame`] until it returns `None` before pushing more: what
    /// was pushed is kept until then.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.used == self.bytes.len() {
            self.bytes.clear();
            self.used = 0;
        } else if self.used >= COMPACT_AT {
            self.bytes.drain(..self.used);
            self.used = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next whole frame, or `None` until more bytes are pushed.
    ///
    /// # Errors
    /// A [`ProtocolError`] about the bytes at hand; every later call returns it again.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, ProtocolError> {
        let rest = &self.bytes[self.used..];
        let Some((header, rest)) = rest.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let (kind, len) = parse_header(*header)?;
        let Some(payload) = rest.get(..len) else {
            return Ok(None);
        };
        let frame = Frame::from_parts(kind, payload.to_vec())?;
        self.used += HEADER_LEN + len;
        Ok(Some(frame))
    }

    /// Whether part of a frame is waiting for the rest of it: the end of the connection would cut it short.
    pub fn is_mid_frame(&self) -> bool {
        self.used < self.bytes.len()
    }
}
