//! Chunks of large files, written while layers are still being unpacked.
//!
//! A large file starts at a chunk boundary of the disk, wherever that is, so its chunks are known as soon as its bytes
//! are. They come first in the packs of a step, in the order of the tar streams.
//!
//! Invariant: a chunk of the disk holds such a chunk and nothing else, or none of its bytes.

use std::collections::HashSet;

use crossbeam_channel::Receiver;

use crate::chunk::{self, Encoder};
use crate::digest::ChunkDigest;
use crate::ordered::ordered;
use crate::pack::PACK_BYTES;
use crate::seal::{ChunkWriter, Known, new_encoder};
use crate::store::{Store, StoreError};
use crate::tree::FileChunk;

/// What is known of the contents that are not in a tree's spool: each chunk but those that are all zero.
pub(super) struct Ahead<'a> {
    store: &'a Store,
    writer: ChunkWriter<'a>,
    /// In ascending order of their offsets.
    chunks: Vec<Written>,
}

struct Written {
    /// What stands for the first byte in the tree's runs.
    offset: u64,
    /// Bytes of the file; the rest of the chunk is zero.
    len: u32,
    digest: ChunkDigest,
}

/// What a worker made of a chunk, unless all of it is zero; its frame, unless it need not be written.
type Encoded = Option<(Written, Option<Vec<u8>>)>;

impl<'a> Ahead<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self {
            store,
            writer: ChunkWriter::new(store.blobs(), PACK_BYTES),
            chunks: Vec::new(),
        }
    }

    /// Writes what arrives, until nothing more does.
    pub(super) fn write(
        &mut self,
        arriving: Receiver<FileChunk>,
        known: &Known<'_>,
    ) -> Result<(), StoreError> {
        let work = |encoder: &mut Encoder, chunk| encode(encoder, chunk, known);
        ordered(arriving.into_iter(), new_encoder, work, |encoded| {
            let Some((chunk, frame)) = encoded else {
                return Ok(());
            };
            if let Some(frame) = frame {
                self.writer.add(chunk.digest, &frame)?;
            }
            self.chunks.push(chunk);
            Ok(())
        })
    }

    /// The chunk whose first `len` bytes are those that `offset` stands for, and whose rest is zero; nothing if all of
    /// it is zero.
    pub(super) fn digest(&self, offset: u64, len: u64) -> Option<ChunkDigest> {
        let found = self.chunks.binary_search_by_key(&offset, |it| it.offset);
        let chunk = &self.chunks[found.ok()?];
        (u64::from(chunk.len) == len).then_some(chunk.digest)
    }

    /// Whether the `len` bytes that `offset` stands for are all zero.
    pub(super) fn is_zero(&self, offset: u64, len: u64) -> bool {
        let end = |chunk: &Written| chunk.offset + u64::from(chunk.len);
        let first = self.chunks.partition_point(|it| end(it) <= offset);
        let next = self.chunks.get(first);
        next.is_none_or(|next| next.offset >= offset + len)
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

fn encode(
    encoder: &mut Encoder,
    chunk: FileChunk,
    known: &Known<'_>,
) -> Result<Encoded, StoreError> {
    let plain = &chunk.bytes;
    if chunk::is_zero(plain) {
        return Ok(None);
    }
    let digest = ChunkDigest::of(plain);
    let frame = match known.usable(&digest) {
        Some(_) => None,
        None => {
            let frame = encoder.encode(plain);
            Some(frame.map_err(|source| StoreError::Compress { source })?)
        }
    };
    let (offset, len) = (chunk.offset, chunk.len);
    Ok(Some((
        Written {
            offset,
            len,
            digest,
        },
        frame,
    )))
}
