//! Chunks on their way into packs, before it is known where on a disk they will be.

use std::collections::{HashMap, HashSet};
use std::mem;

use crate::blobs::{Blobs, StagedBlob};
use crate::digest::ChunkDigest;
use crate::index::{Locator, PackRef};
use crate::pack::PackSet;
use crate::store::StoreError;

/// Dead frames are left where they are up to this part of all.
const DEAD_PART: u64 = 16;

/// Writes each chunk once. Dropping it leaves nothing.
pub(crate) struct ChunkWriter<'a> {
    blobs: &'a Blobs,
    pack_bytes: u64,
    pub(super) packs: PackSet<'a>,
    written: HashMap<ChunkDigest, Locator>,
}

impl<'a> ChunkWriter<'a> {
    /// One whose packs are closed at `pack_bytes`: [`PACK_BYTES`](crate::pack::PACK_BYTES), but for tests.
    pub(crate) fn new(blobs: &'a Blobs, pack_bytes: u64) -> Self {
        Self {
            blobs,
            pack_bytes,
            packs: PackSet::new(blobs, pack_bytes),
            written: HashMap::new(),
        }
    }

    /// Writes a chunk's frame, unless the chunk was written before.
    pub(crate) fn add(&mut self, digest: ChunkDigest, frame: &[u8]) -> Result<Locator, StoreError> {
        if let Some(at) = self.written.get(&digest) {
            return Ok(*at);
        }
        let at = self.packs.add_chunk(digest, frame)?;
        self.written.insert(digest, at);
        Ok(at)
    }

    /// Copies the chunks that are live to packs of their own, unless nearly all are.
    pub(crate) fn without_dead(mut self, live: &HashSet<ChunkDigest>) -> Result<Self, StoreError> {
        let (mut kept, mut dead, mut all) = (Vec::new(), 0, 0);
        for at in self.written.values() {
            all += u64::from(at.len);
            match live.contains(&at.digest) {
                true => kept.push(*at),
                false => dead += u64::from(at.len),
            }
        }
        if dead * DEAD_PART <= all {
            return Ok(self);
        }
        kept.sort_unstable_by_key(|at| (pack_number(at), at.offset));
        let mut copy = Self::new(self.blobs, self.pack_bytes);
        for at in kept {
            let frame = self.packs.read(pack_number(&at), &at)?;
            copy.add(at.digest, &frame)?;
        }
        Ok(copy)
    }

    /// Takes out what was written so far, for all who want to look it up while the writer writes other chunks.
    pub(super) fn begun(&mut self) -> HashMap<ChunkDigest, Locator> {
        mem::take(&mut self.written)
    }

    /// Completes all packs and says where all chunks are, those of [`Self::begun`] among them.
    pub(super) fn complete(
        self,
        mut written: HashMap<ChunkDigest, Locator>,
    ) -> Result<(Vec<StagedBlob<'a>>, HashMap<ChunkDigest, Locator>), StoreError> {
        let packs = self.packs.complete()?;
        written.extend(self.written);
        for at in written.values_mut() {
            if let PackRef::New(number) = at.pack {
                at.pack = PackRef::Complete(packs[number].digest);
            }
        }
        Ok((packs, written))
    }
}

/// Number of the pack that a chunk was written to: all that a writer knows are its own.
fn pack_number(at: &Locator) -> usize {
    match at.pack {
        PackRef::New(number) => number,
        PackRef::Complete(_) => usize::MAX,
    }
}
