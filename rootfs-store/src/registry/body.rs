//! Bodies of requests, which can be sent again.

use std::io::{self, Read};

use crate::digest::BlobDigest;

/// Reads the bytes of a blob from an offset on.
pub(crate) type ReadAt<'a> = &'a dyn Fn(u64, &mut [u8]) -> io::Result<()>;

/// What a request carries.
pub(crate) enum Body<'a> {
    /// Nothing. A `POST`, `PUT` or `PATCH` then says that it has no bytes.
    Empty,
    Bytes(&'a [u8]),
    Part(Part<'a>),
}

/// A part of a blob, read while it is sent.
pub(crate) struct Part<'a> {
    pub(crate) digest: BlobDigest,
    pub(crate) from: u64,
    pub(crate) len: u64,
    pub(crate) read_at: ReadAt<'a>,
    /// Is told the offset in the blob up to which bytes were sent.
    pub(crate) progress: &'a mut dyn FnMut(u64),
}

impl Body<'_> {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Part(part) => part.len,
        }
    }
}

/// Yields exactly the bytes of a part, or fails: the sender would wait for ever for a body that ends early.
pub(crate) struct PartReader<'p, 'a> {
    part: &'p mut Part<'a>,
    sent: u64,
    /// Why the bytes could not be read here, which is no fault of the connection.
    pub(crate) failure: Option<io::Error>,
}

impl<'p, 'a> PartReader<'p, 'a> {
    pub(crate) fn new(part: &'p mut Part<'a>) -> Self {
        Self {
            part,
            sent: 0,
            failure: None,
        }
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }
}

impl Read for PartReader<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.part.len - self.sent).unwrap_or(usize::MAX);
        let len = left.min(buf.len());
        let at = self.part.from + self.sent;
        if let Err(error) = (self.part.read_at)(at, &mut buf[..len]) {
            self.failure = Some(error);
            return Err(io::Error::other("the bytes to send could not be read"));
        }
        self.sent += len as u64;
        (self.part.progress)(self.part.from + self.sent);
        Ok(len)
    }
}
