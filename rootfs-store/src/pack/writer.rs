//! Writes frames into as many packs as they need.
//!
//! Invariant: the same frames in the same order make the same packs.

use crate::blobs::{Blobs, NewBlob, Published, StagedBlob};
use crate::digest::{BlobDigest, ChunkDigest};
use crate::index::{Locator, PackRef};
use crate::leases::Lease;
use crate::store::StoreError;

use super::table::{MAX_ENTRIES, Table, TableEntry};

/// A pack is closed at this size: far below what registries refuse, and few enough for a large disk.
pub(crate) const PACK_BYTES: u64 = 512 << 20;

/// Packs under way: those that are full, and one that takes frames. Dropping them leaves nothing.
pub(crate) struct PackSet<'a> {
    blobs: &'a Blobs,
    pack_bytes: u64,
    finished: Vec<StagedBlob<'a>>,
    current: Option<Current<'a>>,
}

struct Current<'a> {
    blob: NewBlob<'a>,
    table: Table,
}

impl<'a> PackSet<'a> {
    /// Packs that are closed at `pack_bytes`: [`PACK_BYTES`], but for tests.
    pub(crate) fn new(blobs: &'a Blobs, pack_bytes: u64) -> Self {
        Self {
            blobs,
            pack_bytes,
            finished: Vec::new(),
            current: None,
        }
    }

    /// Appends a chunk's frame, to a new pack if the current one is full.
    pub(crate) fn add_chunk(
        &mut self,
        digest: ChunkDigest,
        frame: &[u8],
    ) -> Result<Locator, StoreError> {
        let full = self.current.as_ref().is_some_and(|pack| {
            pack.blob.len() >= self.pack_bytes
                || pack.table.entries.len() as u64 >= u64::from(MAX_ENTRIES / 2)
        });
        if full {
            self.close()?;
        }
        self.add_page(digest, frame)
    }

    /// Appends an index page's frame; never to a new pack, as pages name their own pack without its digest.
    pub(crate) fn add_page(
        &mut self,
        digest: ChunkDigest,
        frame: &[u8],
    ) -> Result<Locator, StoreError> {
        let number = self.finished.len();
        let pack = match &mut self.current {
            Some(pack) => pack,
            none => none.insert(Current {
                blob: self.blobs.create()?,
                table: Table::default(),
            }),
        };
        let offset = pack.blob.len();
        pack.blob.write(frame)?;
        let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        pack.table.entries.push(TableEntry {
            digest,
            offset,
            len,
        });
        Ok(Locator {
            digest,
            pack: PackRef::New(number),
            offset,
            len,
        })
    }

    /// The pack that takes the next page.
    pub(crate) fn current(&self) -> PackRef {
        PackRef::New(self.finished.len())
    }

    /// The digest of the pack that [`PackRef::New`] means, unless it still takes frames.
    pub(crate) fn digest(&self, number: usize) -> Option<BlobDigest> {
        self.finished.get(number).map(|pack| pack.digest)
    }

    /// Publishes all packs, kept by `lease`; they are then on disk, but not yet certain to stay: see [`Blobs::sync`].
    pub(crate) fn finish(self, lease: &Lease) -> Result<Vec<Published>, StoreError> {
        let publish = |pack: StagedBlob<'_>| pack.publish(lease);
        self.complete()?.into_iter().map(publish).collect()
    }

    /// All packs, complete and on disk, but without names.
    pub(crate) fn complete(mut self) -> Result<Vec<StagedBlob<'a>>, StoreError> {
        self.close()?;
        Ok(self.finished)
    }

    /// The frame of a chunk that was written to the pack of this number.
    pub(crate) fn read(&mut self, number: usize, at: &Locator) -> Result<Vec<u8>, StoreError> {
        let mut frame = vec![0; at.len as usize];
        match (self.finished.get(number), &mut self.current) {
            (Some(pack), _) => pack.read_at(&mut frame, at.offset)?,
            (None, Some(pack)) => pack.blob.read_at(&mut frame, at.offset)?,
            (None, None) => return Err(StoreError::UnfinishedPack { number }),
        }
        Ok(frame)
    }

    fn close(&mut self) -> Result<(), StoreError> {
        if let Some(mut pack) = self.current.take() {
            pack.blob.write(&pack.table.to_tail())?;
            self.finished.push(pack.blob.finish()?);
        }
        Ok(())
    }
}
