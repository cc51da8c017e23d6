//! Turns changed chunks of a disk into packs and index pages.
//!
//! Invariant: the same chunks over the same base make the same packs, whatever the number of threads.

mod known;

use std::collections::HashMap;

use crate::chunk::{self, Encoder};
use crate::chunk_source::ChunkSource;
use crate::digest::ChunkDigest;
use crate::index::{Change, Index, Locator, PackRef, Root, update};
use crate::leases::Lease;
use crate::manifest::Pack;
use crate::ordered::ordered;
use crate::pack::PackSet;
use crate::progress::{Progress, Stage};
use crate::store::StoreError;
pub(crate) use known::{Known, Used};

/// Fills the buffer with the plain bytes of the chunk of this number.
pub(crate) type ReadChunk<'a, E> = &'a (dyn Fn(u64, &mut [u8]) -> Result<(), E> + Sync);

/// Chunks that may have changed.
pub(crate) struct Dirty<'a, N, E> {
    /// Their numbers, ascending, as far as they can be found out.
    pub(crate) numbers: N,
    /// How many there are at most, for the progress.
    pub(crate) count: u64,
    /// Where packs are closed, in bytes.
    pub(crate) pack_bytes: u64,
    /// Size of each in bytes.
    pub(crate) chunk_bytes: u32,
    /// Reads a chunk's plain bytes.
    pub(crate) read: ReadChunk<'a, E>,
    /// Chunks that are there, besides those of the base, and that a lease keeps.
    pub(crate) known: &'a Known,
}

/// What [`seal`] wrote.
#[derive(Debug, Default)]
pub(crate) struct Sealed {
    /// Root of the new index; nothing if the disk is all zero.
    pub(crate) root: Option<Root>,
    /// The packs that were written, durable but for their names.
    pub(crate) packs: Vec<Pack>,
    /// Chunks that differ from the base.
    pub(crate) changed_chunks: u64,
    /// Chunks in packs that the store did not have.
    pub(crate) new_chunks: u64,
    /// Plain bytes of these.
    pub(crate) new_bytes: u64,
    /// Bytes of the packs that the store did not have.
    pub(crate) stored_bytes: u64,
    /// Where the chunks are that were written.
    pub(crate) written: HashMap<ChunkDigest, Locator>,
    /// What was used of the known packs.
    pub(crate) used: Used,
}

/// What a worker found out about a chunk.
enum Outcome {
    Unchanged,
    Zero {
        chunk: u64,
    },
    Known {
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

/// Writes what differs from `base`: new chunks once each, then the index pages that they dirty. `lease` keeps the
/// packs.
pub(crate) fn seal<N, E>(
    source: &ChunkSource,
    base: &Index,
    dirty: Dirty<'_, N, E>,
    lease: &Lease,
    progress: &dyn Progress,
) -> Result<Sealed, E>
where
    N: Iterator<Item = Result<u64, StoreError>> + Send,
    E: From<StoreError> + Send,
{
    let Dirty {
        numbers,
        count,
        pack_bytes,
        chunk_bytes,
        read,
        known,
    } = dirty;
    let mut packs = PackSet::new(&source.blobs, pack_bytes);
    let mut written: HashMap<ChunkDigest, Locator> = HashMap::new();
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
        read,
    };
    let work = |worker: &mut Worker, chunk: Result<u64, _>| examiner.examine(worker, chunk?);
    ordered(numbers, state, work, |outcome| {
        done += chunk_len;
        progress.advance(Stage::Chunks, done, count * chunk_len);
        let (chunk, to) = match outcome {
            Outcome::Unchanged => return Ok(()),
            Outcome::Zero { chunk } => (chunk, None),
            Outcome::Known { chunk, at } => {
                used.add(&at);
                (chunk, Some(at))
            }
            Outcome::Data {
                chunk,
                digest,
                frame,
            } => {
                let known = written.get(&digest).copied();
                let at = known.map_or_else(|| packs.add_chunk(digest, &frame), Ok)?;
                written.insert(digest, at);
                (chunk, Some(at))
            }
        };
        changes.push(Change { chunk, to });
        Ok(())
    })?;
    let root = update(base, &changes, source, &mut packs, &mut new_encoder()?)?;
    let published = packs.finish(lease)?;
    let mut sealed = Sealed {
        changed_chunks: changes.len() as u64,
        used,
        ..Sealed::default()
    };
    for pack in &published {
        sealed.packs.push(Pack {
            digest: pack.digest,
            bytes: pack.bytes,
        });
        sealed.stored_bytes += if pack.new { pack.bytes } else { 0 };
    }
    for at in written.values_mut() {
        if let PackRef::New(number) = at.pack {
            let pack = &published[number];
            sealed.new_chunks += u64::from(pack.new);
            at.pack = PackRef::Complete(pack.digest);
        }
    }
    sealed.written = written;
    sealed.new_bytes = sealed.new_chunks * chunk_len;
    sealed.root = root.and_then(|at| Root::published(&at, &published));
    Ok(sealed)
}

/// What a chunk is compared with.
struct Examiner<'a, E> {
    source: &'a ChunkSource,
    base: &'a Index,
    known: &'a Known,
    read: ReadChunk<'a, E>,
}

impl<E: From<StoreError>> Examiner<'_, E> {
    fn examine(&self, worker: &mut Worker, chunk: u64) -> Result<Outcome, E> {
        (self.read)(chunk, &mut worker.buffer)?;
        let before = self.base.get(self.source, chunk)?;
        if chunk::is_zero(&worker.buffer) {
            return Ok(if before.is_some() {
                Outcome::Zero { chunk }
            } else {
                Outcome::Unchanged
            });
        }
        let digest = ChunkDigest::of(&worker.buffer);
        if before.is_some_and(|before| before.digest == digest) {
            return Ok(Outcome::Unchanged);
        }
        if let Some(at) = self.known.get(&digest) {
            return Ok(Outcome::Known { chunk, at });
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
}

pub(crate) fn new_encoder() -> Result<Encoder, StoreError> {
    Encoder::new().map_err(|source| StoreError::Compress { source })
}
