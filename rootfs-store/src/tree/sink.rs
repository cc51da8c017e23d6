//! Where contents of large files go while layers are unpacked, if not to the spool: to whoever makes chunks of them.

use std::io::{self, BufRead};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::contents::CopyFault;
use super::error::TarFault;
use super::tar_stream::Entries;

/// Chunks that wait to be received.
const WAITING: usize = 16;

/// A chunk of a file.
#[derive(Debug)]
pub(crate) struct FileChunk {
    /// What stands for its first byte in a [`Run`](super::Run).
    pub(crate) offset: u64,
    /// Bytes of the file.
    pub(crate) len: u32,
    /// These, and zeros up to the size of a chunk.
    pub(crate) bytes: Vec<u8>,
}

/// Takes files without holes, from a certain size on, and cuts them into chunks.
#[derive(Debug)]
pub(crate) struct Sink {
    chunks: Sender<FileChunk>,
    chunk_bytes: u32,
    min_bytes: u64,
}

/// A sink for files of at least `min_bytes`, and what it cuts them into.
pub(crate) fn sink(chunk_bytes: u32, min_bytes: u64) -> (Sink, Receiver<FileChunk>) {
    let (chunks, receiver) = bounded(WAITING);
    let sink = Sink {
        chunks,
        chunk_bytes,
        min_bytes,
    };
    (sink, receiver)
}

impl Sink {
    /// Whether a file of this length comes here.
    pub(super) fn takes(&self, len: u64) -> bool {
        len >= self.min_bytes
    }

    /// Cuts the next `len` bytes of data into chunks, the first of which is called `offset`.
    pub(super) fn copy<R: BufRead>(
        &self,
        entries: &mut Entries<R>,
        mut len: u64,
        mut offset: u64,
    ) -> Result<(), CopyFault> {
        while len > 0 {
            let chunk_len =
                u32::try_from(len).map_or(self.chunk_bytes, |len| len.min(self.chunk_bytes));
            let chunk = FileChunk {
                offset,
                len: chunk_len,
                bytes: self.read_chunk(entries, chunk_len as usize)?,
            };
            // Whoever listens no more has an error of its own to report.
            let gone = |_| CopyFault::Spool(io::ErrorKind::BrokenPipe.into());
            self.chunks.send(chunk).map_err(gone)?;
            len -= u64::from(chunk_len);
            offset += u64::from(chunk_len);
        }
        Ok(())
    }

    fn read_chunk<R: BufRead>(
        &self,
        entries: &mut Entries<R>,
        len: usize,
    ) -> Result<Vec<u8>, CopyFault> {
        let mut bytes = Vec::with_capacity(self.chunk_bytes as usize);
        while bytes.len() < len {
            let data = entries.fill_data().map_err(CopyFault::Tar)?;
            if data.is_empty() {
                return Err(CopyFault::Tar(TarFault::Truncated));
            }
            let step = data.len().min(len - bytes.len());
            bytes.extend_from_slice(&data[..step]);
            entries.consume_data(step);
        }
        bytes.resize(self.chunk_bytes as usize, 0);
        Ok(bytes)
    }
}
