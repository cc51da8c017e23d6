//! Chunks of large files, written while layers are still being unpacked.
//!
//! A large file starts at a chunk boundary of the disk, wherever that is, so its chunks are known as soon as its bytes
//! are. They come first in the packs of a step, in the order of the tar streams.

use std::collections::HashSet;

use crossbeam_channel::Receiver;

use super::ImportError;
use crate::chunk::{self, Encoder};
use crate::digest::ChunkDigest;
use crate::ordered::ordered;
use crate::pack::PACK_BYTES;
use crate::seal::{ChunkWriter, Known, new_encoder};
use crate::store::{Store, StoreError};
use crate::tree::FileChunk;

/// What is known of the contents that are not in a tree's spool. Takes 56 bytes of memory for each chunk.
pub(super) struct Ahead<'a> {
    store: &'a Store,
    chunk_bytes: u32,
    writer: ChunkWriter<'a>,
    /// In ascending order of their offsets.
    chunks: Vec<Written>,
}

struct Written {
    /// What stands for the first byte in the tree's runs.
    offset: u64,
    /// Bytes of the file; the rest of the chunk is zero.
    len: u32,
    /// Nothing if all of them are zero.
    digest: Option<ChunkDigest>,
}

/// What a worker made of a chunk.
struct Encoded {
    chunk: Written,
    /// Nothing if the chunk need not be written.
    frame: Option<Vec<u8>>,
}

impl<'a> Ahead<'a> {
    pub(super) fn new(store: &'a Store, chunk_bytes: u32) -> Self {
        Self {
            store,
            chunk_bytes,
            writer: ChunkWriter::new(store.blobs(), PACK_BYTES),
            chunks: Vec::new(),
        }
    }

    /// Writes what arrives, until nothing more does.
    pub(super) fn write(
        &mut self,
        arriving: Receiver<FileChunk>,
        known: &Known,
    ) -> Result<(), StoreError> {
        let work = |encoder: &mut Encoder, chunk| encode(encoder, chunk, known);
        ordered(arriving.into_iter(), new_encoder, work, |encoded| {
            if let (Some(digest), Some(frame)) = (encoded.chunk.digest, encoded.frame) {
                self.writer.add(digest, &frame)?;
            }
            self.chunks.push(encoded.chunk);
            Ok(())
        })
    }

    /// The chunk whose first `len` bytes are those that `offset` stands for, and whose rest is zero.
    pub(super) fn digest(&self, offset: u64, len: u64) -> Option<ChunkDigest> {
        let found = self.chunks.binary_search_by_key(&offset, |it| it.offset);
        let chunk = &self.chunks[found.ok()?];
        chunk.digest.filter(|_| u64::from(chunk.len) == len)
    }

    /// Reads contents back from packs that are complete.
    pub(super) fn read(
        &self,
        known: &Known,
        mut offset: u64,
        mut buf: &mut [u8],
    ) -> Result<(), ImportError> {
        let mut next = self.chunks.partition_point(|it| it.offset <= offset);
        while !buf.is_empty() {
            let chunk = &self.chunks[next - 1];
            let start = usize::try_from(offset - chunk.offset).unwrap_or(usize::MAX);
            let (piece, rest) = buf.split_at_mut(buf.len().min(chunk.len as usize - start));
            match chunk.digest {
                Some(digest) => self.read_chunk(known, &digest, start, piece)?,
                None => piece.fill(0),
            }
            (offset, next) = (offset + piece.len() as u64, next + 1);
            buf = rest;
        }
        Ok(())
    }

    fn read_chunk(
        &self,
        known: &Known,
        digest: &ChunkDigest,
        start: usize,
        piece: &mut [u8],
    ) -> Result<(), ImportError> {
        let at = known.find(digest);
        let at = at.expect("what was written for an earlier step is known, if only to be read");
        let source = &self.store.inner.source;
        let plain = source.read_chunk(&at, self.chunk_bytes as usize)?;
        piece.copy_from_slice(&plain[start..start + piece.len()]);
        Ok(())
    }

    /// What was written since the last call, without nearly all that is not among `live`.
    pub(super) fn take(
        &mut self,
        live: &HashSet<ChunkDigest>,
    ) -> Result<ChunkWriter<'a>, StoreError> {
        let next = ChunkWriter::new(self.store.blobs(), PACK_BYTES);
        std::mem::replace(&mut self.writer, next).without_dead(live)
    }
}

fn encode(encoder: &mut Encoder, chunk: FileChunk, known: &Known) -> Result<Encoded, StoreError> {
    let plain = &chunk.bytes;
    let digest = (!chunk::is_zero(plain)).then(|| ChunkDigest::of(plain));
    let frame = match digest {
        Some(digest) if known.get(&digest).is_none() => {
            let frame = encoder.encode(plain);
            Some(frame.map_err(|source| StoreError::Compress { source })?)
        }
        _ => None,
    };
    let (offset, len) = (chunk.offset, chunk.len);
    let chunk = Written {
        offset,
        len,
        digest,
    };
    Ok(Encoded { chunk, frame })
}
