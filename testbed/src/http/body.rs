//! Bodies: where they end, whichever way that is said.

use std::io::{self, BufRead, Read, Write};

use super::{Head, invalid, line};

/// The most bytes of a line between chunks.
const MAX_CHUNK_LINE: u64 = 4096;

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes.
    Length(u64),
    /// Pieces that each tell their length, and an empty one.
    Chunked,
    /// All that comes until the connection is closed.
    ToEnd,
}

impl Framing {
    /// That of the request with this head.
    pub(crate) fn of_request(head: &Head) -> io::Result<Self> {
        Ok(Self::told(head)?.unwrap_or(Self::Length(0)))
    }

    /// That of the answer with this head to a request by `method`.
    pub(crate) fn of_answer(head: &Head, method: &str) -> io::Result<Self> {
        let status = head.status()?;
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Ok(Self::Length(0));
        }
        Ok(Self::told(head)?.unwrap_or(Self::ToEnd))
    }

    fn told(head: &Head) -> io::Result<Option<Self>> {
        let coding = head.get("transfer-encoding");
        if coding.is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return Ok(Some(Self::Chunked));
        }
        let Some(length) = head.get("content-length") else {
            return Ok(None);
        };
        let length = length.parse().map_err(|_| invalid("a length"))?;
        Ok(Some(Self::Length(length)))
    }
}

/// A body while it is read. It ends where its framing says; a connection that ends before is an error.
#[derive(Debug)]
pub(crate) struct Body<'a, R> {
    reader: &'a mut R,
    framing: Framing,
    /// Bytes until the body's end, or until the chunk's.
    left: u64,
    ended: bool,
}

impl<'a, R: BufRead> Body<'a, R> {
    pub(crate) fn new(reader: &'a mut R, framing: Framing) -> Self {
        let left = match framing {
            Framing::Length(length) => length,
            Framing::Chunked => 0,
            Framing::ToEnd => u64::MAX,
        };
        Self {
            reader,
            framing,
            left,
            ended: left == 0 && framing != Framing::Chunked,
        }
    }

    /// Reads the line before a chunk, and what follows the last one.
    fn next_chunk(&mut self) -> io::Result<()> {
        let text = self.line()?;
        let size = text.split(';').next().unwrap_or_default().trim();
        self.left = u64::from_str_radix(size, 16).map_err(|_| invalid("a chunk"))?;
        if self.left == 0 {
            while !self.line()?.is_empty() {}
            self.ended = true;
        }
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        let line = line(&mut (&mut self.reader).take(MAX_CHUNK_LINE))?;
        line.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl<R: BufRead> Read for Body<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.ended {
            self.next_chunk()?;
        }
        if self.ended || buf.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(self.left).map_or(buf.len(), |left| left.min(buf.len()));
        let read = self.reader.read(&mut buf[..most])?;
        if read == 0 {
            self.ended = true;
            return match self.framing {
                Framing::ToEnd => Ok(0),
                Framing::Length(_) | Framing::Chunked => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        self.left -= read as u64;
        if self.left == 0 {
            if self.framing != Framing::Chunked {
                self.ended = true;
            } else if !self.line()?.is_empty() {
                return Err(invalid("a chunk"));
            }
        }
        Ok(read)
    }
}

/// Writes some bytes of a body, which must not be none.
pub(crate) fn write_piece(
    writer: &mut impl Write,
    framing: Framing,
    bytes: &[u8],
) -> io::Result<()> {
    if framing == Framing::Chunked {
        write!(writer, "{:x}\r\n", bytes.len())?;
        writer.write_all(bytes)?;
        return writer.write_all(b"\r\n");
    }
    writer.write_all(bytes)
}

/// Writes what comes after the last piece.
pub(crate) fn write_end(writer: &mut impl Write, framing: Framing) -> io::Result<()> {
    if framing == Framing::Chunked {
        writer.write_all(b"0\r\n\r\n")?;
    }
    Ok(())
}
