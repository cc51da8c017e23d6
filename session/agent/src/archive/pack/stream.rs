//! Entries of a tar stream, one behind the other.
//!
//! Invariant: a file's entry has as many bytes as its header says, or the stream ends within it.

use std::fs::File;
use std::io::{self, Read, Write};

use tar::{Builder, EntryType, Header};

use super::super::error::{ArchiveError, text};
use super::super::{BUFFER_BYTES, REPORT_BYTES};
use crate::protocol::Copied;

/// What a header has room for.
const SHORT_NAME: usize = 100;

/// What was written, and who is told of it.
pub(super) struct Progress<'a> {
    pub(super) copied: Copied,
    unreported: u64,
    report: &'a mut dyn FnMut(&Copied),
}

impl<'a> Progress<'a> {
    pub(super) fn new(report: &'a mut dyn FnMut(&Copied)) -> Self {
        Self {
            copied: Copied::default(),
            unreported: 0,
            report,
        }
    }

    pub(super) fn tell(&mut self) {
        self.unreported = 0;
        (self.report)(&self.copied);
    }

    fn count(&mut self, bytes: usize) {
        self.copied.bytes += bytes as u64;
        self.unreported += bytes as u64;
        if self.unreported >= REPORT_BYTES {
            self.tell();
        }
    }
}

pub(super) struct Stream<W: Write> {
    builder: Builder<W>,
    /// The name of the last entry that was written.
    last: Vec<u8>,
    /// Space for what is read of a file.
    buffer: Box<[u8]>,
}

impl<W: Write> Stream<W> {
    pub(super) fn new(to: W) -> Self {
        Self {
            builder: Builder::new(to),
            last: Vec::new(),
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
        }
    }

    /// Writes the archive's end.
    pub(super) fn finish(self) -> Result<(), ArchiveError> {
        let flushed = self.builder.into_inner().and_then(|mut to| to.flush());
        flushed.map_err(|source| failed(&self.last, source))
    }

    /// Writes an entry whose bytes are at hand.
    pub(super) fn put(
        &mut self,
        header: &mut Header,
        name: &[u8],
        link: Option<&[u8]>,
        data: &[u8],
    ) -> Result<(), ArchiveError> {
        self.names(header, name, link)
            .and_then(|()| self.builder.append(header, data))
            .map_err(|source| failed(name, source))?;
        self.wrote(name);
        Ok(())
    }

    /// Writes a file of which so many bytes are read as `header` says.
    pub(super) fn file(
        &mut self,
        header: &mut Header,
        name: &[u8],
        shown: &[u8],
        file: &File,
        progress: &mut Progress<'_>,
    ) -> Result<(), ArchiveError> {
        let written = self
            .names(header, name, None)
            .and_then(|()| header.entry_size());
        let mut exactly = Exactly {
            left: written.map_err(|source| failed(name, source))?,
            file,
            buffer: &mut self.buffer,
            used: 0,
            filled: 0,
            failure: None,
            progress,
        };
        let written = self.builder.append(header, &mut exactly);
        match (exactly.failure, written) {
            (Some(source), _) => return Err(ArchiveError::entry("read", shown)(source)),
            (None, written) => written.map_err(|source| failed(name, source))?,
        }
        self.wrote(name);
        Ok(())
    }

    fn wrote(&mut self, name: &[u8]) {
        self.last.clear();
        self.last.extend_from_slice(name);
    }

    /// Puts the names into the header, or in front of it if they are too long for it.
    fn names(&mut self, header: &mut Header, name: &[u8], link: Option<&[u8]>) -> io::Result<()> {
        if let Some(link) = link {
            if link.len() > SHORT_NAME {
                self.long_name(EntryType::GNULongLink, link)?;
            }
            put_name(&mut header.as_old_mut().linkname, link);
        }
        if name.len() > SHORT_NAME {
            self.long_name(EntryType::GNULongName, name)?;
        }
        put_name(&mut header.as_old_mut().name, name);
        header.set_cksum();
        Ok(())
    }

    fn long_name(&mut self, kind: EntryType, name: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        put_name(&mut header.as_old_mut().name, b"././@LongLink");
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        // Its end counts.
        header.set_size(name.len() as u64 + 1);
        header.set_cksum();
        self.builder.append(&header, name.chain(&[0][..]))
    }
}

fn failed(last: &[u8], source: io::Error) -> ArchiveError {
    ArchiveError::Stream {
        after: text(last),
        source,
    }
}

/// As much of a name as a field holds; what is longer is told in front of the header.
fn put_name(field: &mut [u8; SHORT_NAME], name: &[u8]) {
    let len = name.len().min(SHORT_NAME);
    *field = [0; SHORT_NAME];
    field[..len].copy_from_slice(&name[..len]);
}

/// A file of which just so many bytes are read.
struct Exactly<'a, 'p> {
    file: &'a File,
    left: u64,
    buffer: &'a mut [u8],
    /// So much of the buffer was given on, of so much that is in it.
    used: usize,
    filled: usize,
    failure: Option<io::Error>,
    progress: &'a mut Progress<'p>,
}

impl Exactly<'_, '_> {
    fn fill(&mut self) -> io::Result<()> {
        let len = self.buffer.len();
        let wanted = usize::try_from(self.left).map_or(len, |left| left.min(len));
        let count = self.file.read(&mut self.buffer[..wanted])?;
        if count == 0 {
            let text = "it became shorter while it was read";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        (self.used, self.filled) = (0, count);
        self.left -= count as u64;
        self.progress.count(count);
        Ok(())
    }
}

impl Read for Exactly<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.used == self.filled && self.left > 0 {
            match self.fill() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                Err(error) => {
                    self.failure = Some(error);
                    return Err(io::ErrorKind::Other.into());
                }
                Ok(()) => {}
            }
        }
        let rest = &self.buffer[self.used..self.filled];
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        self.used += count;
        Ok(count)
    }
}
