//! Entries of a tar stream, read front to back.
//!
//! This is no wrapper of the `tar` crate: that crate splits PAX records at newlines, which loses binary attributes
//! and, behind them, the record that says how long the entry is.
//!
//! Invariant: after [`Entries::next`], exactly the entry's data lies between the stream's position and the next header.

mod sparse_map;

use std::io::{BufRead, ErrorKind, Seek};
use std::mem;

use super::error::{EntryFault, TarFault};
use super::header::{BLOCK_BYTES, Header};
use super::node::{Time, Xattrs};
use super::pax::{self, Overrides};
pub(crate) use super::sparse::MAX_SPARSE_RUNS;
use super::sparse::SparseMap;

/// Largest extended header (PAX records, GNU long names), in bytes.
pub(crate) const MAX_PAX_BYTES: u64 = 1 << 20;

/// One entry; its data is read from the stream that returned it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: EntryKind,
    pub(super) mode: u16,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) mtime: Time,
    pub(super) xattrs: Xattrs,
    pub(super) bad_xattr: Option<EntryFault>,
}

#[derive(Debug)]
pub(crate) enum EntryKind {
    File { len: u64 },
    SparseFile(SparseMap),
    HardLink { target: Vec<u8> },
    Symlink { target: Vec<u8> },
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Directory,
    Fifo,
}

/// The entries of one stream.
#[derive(Debug)]
pub(crate) struct Entries<R> {
    input: R,
    /// Name of the entry whose header was read last.
    name: Vec<u8>,
    /// Bytes consumed so far.
    offset: u64,
    /// Bytes of the current entry's data that were not read yet.
    data_left: u64,
    /// Bytes that fill up the last block of the data.
    padding: u64,
}

impl<R: BufRead + Seek> Entries<R> {
    /// Passes over the current entry's data without reading it; its end is not checked to be there.
    pub(crate) fn seek_over_data(&mut self) -> Result<(), TarFault> {
        let len = self.data_left.saturating_add(mem::take(&mut self.padding));
        let step = i64::try_from(len).map_err(|_| TarFault::Truncated)?;
        self.input.seek_relative(step).map_err(TarFault::Read)?;
        self.offset = self.offset.saturating_add(len);
        self.data_left = 0;
        Ok(())
    }
}

impl<R: BufRead> Entries<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            name: Vec::new(),
            offset: 0,
            data_left: 0,
            padding: 0,
        }
    }

    /// Position in the stream, in bytes.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Name of the latest entry, also of one that [`Self::next`] found a fault in.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Reads what is left behind the archive's end.
    pub(super) fn read_rest(&mut self) -> Result<(), TarFault> {
        loop {
            let len = fill(&mut self.input)?.len();
            if len == 0 {
                return Ok(());
            }
            self.input.consume(len);
        }
    }

    /// Moves on to the next entry; nothing after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, TarFault> {
        let mut block = [0; BLOCK_BYTES];
        let mut pax: Option<Overrides> = None;
        let (mut long_name, mut long_link) = (None, None);
        loop {
            self.skip_data()?;
            if !self.read_header(&mut block)? {
                let stray = pax.is_some() || long_name.is_some() || long_link.is_some();
                return if stray {
                    Err(TarFault::StrayExtension)
                } else {
                    Ok(None)
                };
            }
            let header = Header::parse(&block)?;
            match header.type_flag() {
                b'x' if pax.is_none() => {
                    pax = Some(Overrides::parse(&self.read_extension(&header)?)?);
                }
                b'L' if long_name.is_none() => long_name = Some(self.read_name(&header)?),
                b'K' if long_link.is_none() => long_link = Some(self.read_name(&header)?),
                b'x' | b'L' | b'K' => return Err(TarFault::StrayExtension),
                b'g' => pax::check_global(&self.read_extension(&header)?)?,
                _ => {
                    let mut pax = pax.unwrap_or_default();
                    // Where both are given, GNU's long names win, as in Go's reader, which container tools use.
                    pax.path = long_name.or(pax.path);
                    pax.link_path = long_link.or(pax.link_path);
                    return self.entry(&header, pax).map(Some);
                }
            }
        }
    }

    /// The next bytes of the current entry's data; empty at its end.
    pub(super) fn fill_data(&mut self) -> Result<&[u8], TarFault> {
        if self.data_left == 0 {
            return Ok(&[]);
        }
        let available = fill(&mut self.input)?;
        if available.is_empty() {
            return Err(TarFault::Truncated);
        }
        let len =
            usize::try_from(self.data_left).map_or(available.len(), |n| n.min(available.len()));
        Ok(&available[..len])
    }

    /// Marks `len` bytes of what [`Self::fill_data`] returned as read.
    pub(super) fn consume_data(&mut self, len: usize) {
        self.input.consume(len);
        self.offset += len as u64;
        self.data_left -= len as u64;
    }

    fn entry(&mut self, header: &Header<'_>, mut pax: Overrides) -> Result<Entry, TarFault> {
        let name = pax
            .sparse
            .name
            .take()
            .or(pax.path.take())
            .unwrap_or_else(|| header.name());
        self.name.clone_from(&name);
        let target = pax.link_path.take().unwrap_or_else(|| header.link_name());
        let size = match pax.size {
            Some(size) => size,
            None => header.size()?,
        };
        let kind = match header.type_flag() {
            b'0' | b'\0' | b'7' if name.ends_with(b"/") => EntryKind::Directory,
            b'0' | b'\0' | b'7' => self.file(size, &pax)?,
            b'S' => self.gnu_sparse_file(header, size)?,
            b'1' => EntryKind::HardLink { target },
            b'2' => EntryKind::Symlink { target },
            flag @ (b'3' | b'4') => {
                let (major, minor) = header.device()?;
                match flag {
                    b'3' => EntryKind::CharDevice { major, minor },
                    _ => EntryKind::BlockDevice { major, minor },
                }
            }
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            code => return Err(TarFault::UnknownType { code }),
        };
        // Only files bring data: a size in the header of anything else is decoration, to Go's reader too.
        Ok(Entry {
            name,
            kind,
            mode: header.mode()?,
            uid: pax.uid.map_or_else(|| header.uid(), Ok)?,
            gid: pax.gid.map_or_else(|| header.gid(), Ok)?,
            mtime: pax.mtime.map_or_else(|| header.mtime(), Ok)?,
            xattrs: pax.xattrs,
            bad_xattr: pax.bad_xattr,
        })
    }

    fn file(&mut self, size: u64, pax: &Overrides) -> Result<EntryKind, TarFault> {
        self.set_data(size)?;
        let sparse = &pax.sparse;
        let map = match (sparse.major, sparse.minor) {
            (Some(1), Some(0)) => Some(self.read_map()?),
            (None | Some(0), None | Some(0 | 1)) => sparse.map.clone(),
            _ => return Err(TarFault::SparseMap),
        };
        match map {
            None => Ok(EntryKind::File { len: size }),
            Some(numbers) => {
                let len = sparse.real_size.ok_or(TarFault::SparseMap)?;
                SparseMap::new(len, &numbers, self.data_left).map(EntryKind::SparseFile)
            }
        }
    }

    fn read_extension(&mut self, header: &Header<'_>) -> Result<Vec<u8>, TarFault> {
        let size = header.size()?;
        let len = usize::try_from(size).ok().filter(|_| size <= MAX_PAX_BYTES);
        let mut data = vec![0; len.ok_or(TarFault::ExtensionTooLarge { size })?];
        self.set_data(size)?;
        self.read_exact(&mut data)?;
        self.data_left = 0;
        Ok(data)
    }

    fn read_name(&mut self, header: &Header<'_>) -> Result<Vec<u8>, TarFault> {
        let mut name = self.read_extension(header)?;
        name.truncate(name.iter().position(|b| *b == 0).unwrap_or(name.len()));
        Ok(name)
    }

    fn set_data(&mut self, size: u64) -> Result<(), TarFault> {
        let padded = size.checked_next_multiple_of(BLOCK_BYTES as u64);
        self.padding = padded.ok_or(TarFault::Number { field: "size" })? - size;
        self.data_left = size;
        Ok(())
    }

    fn skip_data(&mut self) -> Result<(), TarFault> {
        self.data_left += mem::take(&mut self.padding);
        while self.data_left > 0 {
            let len = self.fill_data()?.len();
            self.consume_data(len);
        }
        Ok(())
    }

    /// Reads the next header; `false` at the end of the archive.
    fn read_header(&mut self, block: &mut [u8; BLOCK_BYTES]) -> Result<bool, TarFault> {
        if fill(&mut self.input)?.is_empty() {
            return Ok(false);
        }
        self.read_exact(block)?;
        if block.iter().any(|b| *b != 0) {
            return Ok(true);
        }
        // Two zero blocks end an archive; anything else after the first would be read by some tools only.
        if !fill(&mut self.input)?.is_empty() {
            self.read_exact(block)?;
            if block.iter().any(|b| *b != 0) {
                return Err(TarFault::Checksum);
            }
        }
        Ok(false)
    }

    fn read_exact(&mut self, mut buf: &mut [u8]) -> Result<(), TarFault> {
        while !buf.is_empty() {
            let available = fill(&mut self.input)?;
            if available.is_empty() {
                return Err(TarFault::Truncated);
            }
            let len = available.len().min(buf.len());
            buf[..len].copy_from_slice(&available[..len]);
            buf = &mut buf[len..];
            self.input.consume(len);
            self.offset += len as u64;
        }
        Ok(())
    }
}

fn fill<R: BufRead>(input: &mut R) -> Result<&[u8], TarFault> {
    input.fill_buf().map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => TarFault::Truncated,
        _ => TarFault::Read(error),
    })
}
