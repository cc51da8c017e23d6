//! Frames of packs: from blobs, or from elsewhere.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::{ChunkSource, complete};
use crate::chunk::{self, FrameError, MAX_CHUNK_BYTES};
use crate::digest::BlobDigest;
use crate::index::Locator;
use crate::manifest::Pack;
use crate::pack::PackFile;
use crate::remote::{Kind, MAX_READ_BYTES, RemotePack};
use crate::store::StoreError;

/// A pack that can be read.
#[derive(Clone)]
pub(super) enum OpenPack {
    Here(Arc<PackFile>),
    Elsewhere(Arc<RemotePack>),
}

impl ChunkSource {
    /// As [`Self::plain_len`], for a pack that is elsewhere: nothing if not all of the frame was fetched. What was, but
    /// is damaged, is dropped.
    pub(crate) fn cached_len(&self, at: &Locator) -> Result<Option<u64>, StoreError> {
        let Some(remote) = self.elsewhere(&complete(at.pack)?)? else {
            return Ok(None);
        };
        let len = |frame: &[u8]| {
            let plain = chunk::decode(&at.digest, frame, MAX_CHUNK_BYTES as usize)?;
            Ok::<_, FrameError>(plain.len() as u64)
        };
        Ok(remote.cached_frame(bytes_of(at), len))
    }

    /// Fetches with few requests what is not here of chunks that are read next, in this order.
    pub(crate) fn expect(
        &self,
        chunks: impl Iterator<Item = Result<Option<Locator>, StoreError>>,
    ) -> Result<(), StoreError> {
        let mut run: Option<(BlobDigest, Range<u64>)> = None;
        for at in chunks {
            let Some(at) = at?.filter(|at| self.chunks.peek(&at.digest).is_none()) else {
                continue;
            };
            let (pack, bytes) = (complete(at.pack)?, bytes_of(&at));
            match &mut run {
                Some((last, range))
                    if *last == pack
                        && range.end == bytes.start
                        && bytes.end - range.start <= MAX_READ_BYTES =>
                {
                    range.end = bytes.end;
                }
                _ => {
                    self.expect_run(run.replace((pack, bytes)))?;
                }
            }
        }
        self.expect_run(run)
    }

    fn expect_run(&self, run: Option<(BlobDigest, Range<u64>)>) -> Result<(), StoreError> {
        if let Some((pack, range)) = run
            && let OpenPack::Elsewhere(remote) = self.open(&pack)?
            && !remote.is_here(&range)
            && !self.blobs.path(&pack).exists()
        {
            let expected = remote.expect(&range);
            return Ok(expected.inspect_err(|_| self.doubt_pack(&pack))?);
        }
        Ok(())
    }

    /// Whether the pack is among the blobs.
    pub(crate) fn is_here(&self, pack: &Pack) -> bool {
        self.blobs.has(&pack.digest, pack.bytes)
    }

    /// Whether the pack is among the blobs, or known to be elsewhere.
    pub(crate) fn has(&self, pack: &Pack) -> Result<bool, StoreError> {
        // The last one if it became a blob in between.
        Ok(self.is_here(pack) || self.remotes.has(pack)? || self.is_here(pack))
    }

    /// A pack that is a blob, which is open or is opened now.
    pub(crate) fn pack(&self, pack: &BlobDigest) -> Result<Arc<PackFile>, StoreError> {
        match self.packs.get(pack) {
            Some(OpenPack::Here(file)) => Ok(file),
            _ => PackFile::open(self.blobs.path(pack)).map(Arc::new),
        }
    }

    /// A pack that is no blob, but known to be elsewhere.
    pub(crate) fn elsewhere(
        &self,
        pack: &BlobDigest,
    ) -> Result<Option<Arc<RemotePack>>, StoreError> {
        match self.blobs.path(pack).exists() {
            true => Ok(None),
            false => self.remotes.open(pack),
        }
    }

    /// A pack that is open, or is opened now: the blob, if there is one.
    fn open(&self, pack: &BlobDigest) -> Result<OpenPack, StoreError> {
        self.packs.get_or_insert_with(pack, || {
            let open = || PackFile::open(self.blobs.path(pack));
            let here = |file| OpenPack::Here(Arc::new(file));
            match open() {
                Err(error) if is_absence(&error) => {}
                opened => return opened.map(here),
            }
            match self.remotes.open(pack)? {
                Some(remote) => Ok(OpenPack::Elsewhere(remote)),
                // It may have become a blob in between.
                None => open().map(here),
            }
        })
    }

    /// What `check` makes of the frame at `at`.
    pub(super) fn read<T>(
        &self,
        at: &Locator,
        kind: Kind,
        check: impl Fn(&[u8]) -> Result<T, FrameError>,
    ) -> Result<T, StoreError> {
        let pack = complete(at.pack)?;
        let read = self.open(&pack).and_then(|open| match open {
            OpenPack::Here(file) => read_blob(&file, at, pack, &check),
            OpenPack::Elsewhere(remote) => {
                let range = bytes_of(at);
                // It may have been fetched as a whole, by another process for instance.
                if !remote.is_here(&range) && self.blobs.path(&pack).exists() {
                    self.forget_pack(&pack);
                    let file = PackFile::open(self.blobs.path(&pack))?;
                    return read_blob(&file, at, pack, &check);
                }
                Ok(remote.frame(range, kind, &check)?)
            }
        });
        if read.is_err() {
            self.doubt_pack(&pack);
        }
        read
    }

    /// A pack could not be read. Its file may be repaired, which puts another one in its place; one that is elsewhere
    /// may be to be had from somewhere else, which reading its record tells.
    fn doubt_pack(&self, pack: &BlobDigest) {
        let is_elsewhere = matches!(self.packs.peek(pack), Some(OpenPack::Elsewhere(_)));
        if !is_elsewhere || !matches!(self.elsewhere(pack), Ok(Some(_))) {
            self.forget_pack(pack);
        }
    }
}

fn read_blob<T>(
    file: &PackFile,
    at: &Locator,
    pack: BlobDigest,
    check: impl Fn(&[u8]) -> Result<T, FrameError>,
) -> Result<T, StoreError> {
    let frame = file.frame(at.offset, at.len)?;
    check(&frame).map_err(|source| StoreError::Frame {
        pack,
        offset: at.offset,
        source,
    })
}

/// The bytes of a frame in its pack; past every end, if they are past what can be counted.
fn bytes_of(at: &Locator) -> Range<u64> {
    at.offset..at.offset.saturating_add(u64::from(at.len))
}

fn is_absence(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}
