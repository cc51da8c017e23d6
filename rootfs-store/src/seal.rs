//! Turns changed chunks of a disk into packs and index pages.
//!
//! Invariant: the same chunks over the same base make the same packs, whatever the number of threads.

mod known;
mod writer;

use std::collections::HashMap;

use crate::blobs::StagedBlob;
use crate::chunk::{self, Encoder};
use crate::chunk_source::ChunkSource;
use crate::digest::ChunkDigest;
use crate::index::{Change, Index, Locator, Root, update};
use crate::leases::Lease;
use crate::manifest::Pack;
use crate::ordered::ordered;
use crate::progress::{Progress, Stage};
use crate::store::StoreError;
pub(crate) use known::{Known, Used};
pub(crate) use writer::ChunkWriter;

/// The digest of the chunk of this number, where it is known without reading it.
pub(crate) type DigestOf<'a> = &'a (dyn Fn(u64) -> Option<ChunkDigest> + Sync);

/// Fills the buffer with the plain bytes of the chunk of this number.
pub(crate) type ReadChunk<'a, E> = &'a (dyn Fn(u64, &mut [u8]) -> Result<(), E> + Sync);

/// Chunks that may have changed.
pub(crate) struct Dirty<'a, N, E> {
    /// Their numbers, ascending, as far as they can be found out.
    pub(crate) numbers: N,
    /// How many there are at most, for the progress.
    pub(crate) count: u64,
    /// Size of each in bytes.
    pub(crate) chunk_bytes: u32,
    /// Names a chunk that may be among those that are known or were written before.
    pub(crate) digest: DigestOf<'a>,
    /// Reads a chunk's plain bytes.
    pub(crate) read: ReadChunk<'a, E>,
    /// Chunks that are there, besides those of the base, and that a lease keeps.
    pub(crate) known: &'a Known<'a>,
}

/// What [`seal`] wrote. Dropping it leaves nothing.
pub(crate) struct Sealed<'a> {
    /// Root of the new index; nothing if the disk is all zero.
    pub(crate) root: Option<Root>,
    /// The packs that were written: complete, but without names.
    packs: Vec<StagedBlob<'a>>,
    /// Chunks that differ from the base.
    changed_chunks: u64,
    /// Where the chunks are that were written.
    written: HashMap<ChunkDigest, Locator>,
    /// What was used of the known packs.
    pub(crate) used: Used,
}

/// What is in the store now, for a snapshot to name.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Root of the index; nothing if the disk is all zero.
    pub(crate) root: Option<Root>,
    /// The known packs that are used, and those that were written: durable but for their names.
    pub(crate) packs: Vec<Pack>,
    /// Chunks that differ from the base.
    pub(crate) changed_chunks: u64,
    /// Chunks in packs that the store did not have.
    pub(crate) new_chunks: u64,
    /// Plain bytes of these.
    pub(crate) new_bytes: u64,
    /// Bytes of the packs that the store did not have.
    pub(crate) stored_bytes: u64,
}

impl Sealed<'_> {
    /// Gives the packs their names, and keeps them by `lease`.
    pub(crate) fn publish(self, lease: &Lease, chunk_bytes: u32) -> Result<Stored, StoreError> {
        Known::default().publish(self, lease, chunk_bytes)
    }
}

/// What a worker found out about a chunk.
enum Outcome {
    Unchanged,
    Zero {
        chunk: u64,
    },
    Stored {
        chunk: u64,
        at: Locator,
    },
    Data {
        chunk: u64,
        digest: ChunkDigest,
        frame: Vec<u8>,
    },
}

struct Worker {
    buffer: Vec<u8>,
    encoder: Encoder,
}

/// Writes what differs from `base`: new chunks once each, then the index pages that they dirty, all behind what
/// `writer` wrote before.
pub(crate) fn seal<'a, N, E>(
    source: &ChunkSource,
    base: &Index,
    mut writer: ChunkWriter<'a>,
    dirty: Dirty<'_, N, E>,
    progress: &dyn Progress,
) -> Result<Sealed<'a>, E>
where
    N: Iterator<Item = Result<u64, StoreError>> + Send,
    E: From<StoreError> + Send,
{
    let Dirty {
        numbers,
        count,
        chunk_bytes,
        digest,
        read,
        known,
    } = dirty;
    let begun = writer.begun();
    let (mut changes, mut used) = (Vec::new(), Used::default());
    let (mut done, chunk_len) = (0, u64::from(chunk_bytes));
    let state = || {
        Ok(Worker {
            buffer: vec![0; chunk_bytes as usize],
            encoder: new_encoder()?,
        })
    };
    let examiner = Examiner {
        source,
        base,
        known,
        begun: &begun,
        digest,
        read,
    };
    let work = |worker: &mut Worker, chunk: Result<u64, _>| examiner.examine(worker, chunk?);
    ordered(numbers, state, work, |outcome| {
        done += chunk_len;
        progress.advance(Stage::Chunks, done, count * chunk_len);
        let (chunk, to) = match outcome {
            Outcome::Unchanged => return Ok(()),
            Outcome::Zero { chunk } => (chunk, None),
            Outcome::Stored { chunk, at } => {
                used.add(&at);
                (chunk, Some(at))
            }
            Outcome::Data {
                chunk,
                digest,
                frame,
            } => (chunk, Some(writer.add(digest, &frame)?)),
        };
        changes.push(Change { chunk, to });
        Ok(())
    })?;
    let root = update(
        base,
        &changes,
        source,
        &mut writer.packs,
        &mut new_encoder()?,
    )?;
    let (packs, written) = writer.complete(begun)?;
    let digest = |number: usize| packs.get(number).map(|pack| pack.digest);
    Ok(Sealed {
        root: root.and_then(|at| Root::complete(&at, digest)),
        packs,
        changed_chunks: changes.len() as u64,
        written,
        used,
    })
}

/// What a chunk is compared with.
struct Examiner<'a, E> {
    source: &'a ChunkSource,
    base: &'a Index,
    known: &'a Known<'a>,
    /// What was written before.
    begun: &'a HashMap<ChunkDigest, Locator>,
    digest: DigestOf<'a>,
    read: ReadChunk<'a, E>,
}

impl<E: From<StoreError>> Examiner<'_, E> {
    fn examine(&self, worker: &mut Worker, chunk: u64) -> Result<Outcome, E> {
        let before = self
            .base
            .get(self.source, chunk)?
            .map(|before| before.digest);
        if let Some(digest) = (self.digest)(chunk)
            && let Some(outcome) = self.named(chunk, digest, before)?
        {
            return Ok(outcome);
        }
        (self.read)(chunk, &mut worker.buffer)?;
        if chunk::is_zero(&worker.buffer) {
            return Ok(if before.is_some() {
                Outcome::Zero { chunk }
            } else {
                Outcome::Unchanged
            });
        }
        let digest = ChunkDigest::of(&worker.buffer);
        if let Some(outcome) = self.find(chunk, digest, before) {
            return Ok(outcome);
        }
        let frame = worker
            .encoder
            .encode(&worker.buffer)
            .map_err(|source| StoreError::Compress { source })?;
        Ok(Outcome::Data {
            chunk,
            digest,
            frame,
        })
    }

    /// What becomes of a chunk of which no more is known than its digest; nothing if that is not enough.
    fn named(
        &self,
        chunk: u64,
        digest: ChunkDigest,
        before: Option<ChunkDigest>,
    ) -> Result<Option<Outcome>, StoreError> {
        if let Some(outcome) = self.find(chunk, digest, before) {
            return Ok(Some(outcome));
        }
        let frame = self.known.forgotten_frame(self.source, &digest)?;
        Ok(frame.map(|frame| Outcome::Data {
            chunk,
            digest,
            frame,
        }))
    }

    /// What becomes of a chunk that need not be written.
    fn find(
        &self,
        chunk: u64,
        digest: ChunkDigest,
        before: Option<ChunkDigest>,
    ) -> Option<Outcome> {
        if before == Some(digest) {
            return Some(Outcome::Unchanged);
        }
        let known = self.known.usable(&digest);
        let at = known.or_else(|| self.begun.get(&digest).copied())?;
        Some(Outcome::Stored { chunk, at })
    }
}

pub(crate) fn new_encoder() -> Result<Encoder, StoreError> {
    Encoder::new().map_err(|source| StoreError::Compress { source })
}
