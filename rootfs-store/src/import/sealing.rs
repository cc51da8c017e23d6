//! Trees of files, as they are after each step of an import, turned into packs.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::io;
use std::thread;

use super::ahead::Ahead;
use super::steps::Steps;
use super::{DEFAULT_DISK_BYTES, DEFAULT_ROOM, ImportError, checked_size};
use crate::digest::ChunkDigest;
use crate::ext4::{Layout, LayoutError, min_aligned_bytes};
use crate::image::Image;
use crate::index::Index;
use crate::progress::Progress;
use crate::reference::ImageReference;
use crate::seal::{ChunkWriter, Dirty, Known, Sealed, seal};
use crate::store::{Store, StoreError};
use crate::tree::{self, Builder, Limits, Tree, TreeError};

/// Most known packs that an import may name: registries refuse manifests with many layers, some above 500.
const MAX_KNOWN_PACKS: usize = 90;

/// What it takes to seal a tree.
pub(super) struct Sealing<'a> {
    pub(super) store: &'a Store,
    /// Size of the disk in bytes, if somebody asked for one.
    pub(super) size: Option<u64>,
    pub(super) chunk_bytes: u32,
    pub(super) progress: &'a dyn Progress,
}

/// What can go wrong with an image whose name is not known here.
pub(super) enum Fault {
    Tree(TreeError),
    Layout(LayoutError),
    Import(ImportError),
}

impl<'a> Sealing<'a> {
    /// Makes a disk of an image, with what is known; returns its size in bytes too.
    pub(super) fn seal_image(
        &self,
        image: &Image,
        limits: &Limits,
        known: &mut Known<'a>,
    ) -> Result<(u64, Sealed<'a>), Fault> {
        let mut ahead = Ahead::new(self.store);
        let tree = self.unpack(image, limits, known, &mut ahead)?;
        let layout = self.lay_out(tree)?;
        let sealed = self.seal_with(&layout, known, &mut ahead)?;
        Ok((layout.disk_bytes(), sealed))
    }

    /// Applies the image's layers and seals every step but the last, whose tree it returns.
    fn unpack(
        &self,
        image: &Image,
        limits: &Limits,
        known: &mut Known<'a>,
        ahead: &mut Ahead<'a>,
    ) -> Result<Tree, Fault> {
        let staging = self.store.blobs().staging();
        let mut builder = Builder::new(image, staging, limits, self.progress)?;
        let mut steps = Steps::default();
        while self.unpack_step(&mut builder, &mut steps, known, ahead)? {
            match self.lay_out(builder.tree()?) {
                Ok(layout) => {
                    let sealed = self.seal_with(&layout, known, ahead)?;
                    known.add(sealed);
                }
                // Later layers may remove what does not fit.
                Err(Fault::Layout(_)) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(builder.finish()?)
    }

    /// Applies layers to the end of a step, and writes the chunks of their large files at the same time; whether there
    /// are more layers.
    fn unpack_step(
        &self,
        builder: &mut Builder<'_>,
        steps: &mut Steps,
        known: &Known<'_>,
        ahead: &mut Ahead<'a>,
    ) -> Result<bool, Fault> {
        thread::scope(|scope| {
            let (sink, chunks) = tree::sink(self.chunk_bytes, min_aligned_bytes(self.chunk_bytes));
            let writing = thread::Builder::new()
                .name("chunks".to_owned())
                .spawn_scoped(scope, || ahead.write(chunks, known))
                .map_err(|source| ImportError::Thread { source })?;
            let mut apply = || {
                while let Some(bytes) = builder.next_layer(Some(&sink))? {
                    if steps.end_with(bytes) && !builder.is_done() {
                        return Ok(true);
                    }
                }
                Ok(false)
            };
            let applied: Result<_, TreeError> = apply();
            drop(sink);
            let written = writing
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            written.map_err(ImportError::from)?;
            Ok(applied?)
        })
    }

    /// Places a tree on a disk.
    fn lay_out<T: Borrow<Tree>>(&self, tree: T) -> Result<Layout<T>, Fault> {
        let size = match self.size {
            Some(size) => size,
            None => {
                let needed = Layout::minimum_bytes(tree.borrow(), self.chunk_bytes)?;
                checked_size(needed.saturating_mul(DEFAULT_ROOM).max(DEFAULT_DISK_BYTES))?
            }
        };
        Ok(Layout::plan(tree, size, self.chunk_bytes)?)
    }

    /// Seals a disk with what is known, but for packs of which it would use too little.
    fn seal_with<T: Borrow<Tree> + Sync>(
        &self,
        layout: &Layout<T>,
        known: &mut Known<'a>,
        ahead: &mut Ahead<'a>,
    ) -> Result<Sealed<'a>, ImportError> {
        let chunks = layout.occupied_chunks(self.chunk_bytes);
        let live = chunks
            .iter()
            .filter_map(|chunk| self.digest(layout, ahead, *chunk));
        let writer = ahead.take(&live.collect())?;
        let sealed = self.seal(layout, &chunks, known, ahead, writer)?;
        if known.packs_of(&sealed.used).len() > MAX_KNOWN_PACKS {
            known.forget_all();
        } else if !known.forget_sparse(&sealed.used) {
            return Ok(sealed);
        }
        known.add(sealed);
        let writer = ahead.take(&HashSet::new())?;
        self.seal(layout, &chunks, known, ahead, writer)
    }

    fn seal<T: Borrow<Tree> + Sync>(
        &self,
        layout: &Layout<T>,
        chunks: &[u64],
        known: &Known<'_>,
        ahead: &Ahead<'_>,
        writer: ChunkWriter<'a>,
    ) -> Result<Sealed<'a>, ImportError> {
        let chunk_len = u64::from(self.chunk_bytes);
        let spool_error = |source| ImportError::Spool {
            path: self.store.blobs().staging().to_owned(),
            source,
        };
        let read = |chunk: u64, buffer: &mut [u8]| {
            layout
                .read_with(buffer, chunk * chunk_len, |offset, piece| {
                    if offset < tree::ELSEWHERE {
                        return layout.tree().read_spool(offset, piece);
                    }
                    // What was written ahead has its digest, or else the buffer is right as it is.
                    match ahead.is_zero(offset, piece.len() as u64) {
                        true => Ok(()),
                        false => Err(io::Error::other("a large file shares a chunk of the disk")),
                    }
                })
                .map_err(spool_error)
        };
        let dirty = Dirty {
            count: chunks.len() as u64,
            numbers: chunks.iter().map(|chunk| Ok(*chunk)),
            chunk_bytes: self.chunk_bytes,
            known,
            digest: &|chunk| self.digest(layout, ahead, chunk),
            read: &read,
        };
        let empty = Index {
            root: None,
            chunks: layout.disk_bytes() / chunk_len,
        };
        let source = &self.store.inner.source;
        seal(source, &empty, writer, dirty, self.progress)
    }

    /// The digest of a chunk of the disk that was written ahead.
    fn digest<T: Borrow<Tree>>(
        &self,
        layout: &Layout<T>,
        ahead: &Ahead<'_>,
        chunk: u64,
    ) -> Option<ChunkDigest> {
        let start = chunk * u64::from(self.chunk_bytes);
        let (offset, len) = layout.sole_content(&(start..start + u64::from(self.chunk_bytes)))?;
        ahead.digest(offset, len)
    }
}

impl Fault {
    pub(super) fn of_image(self, reference: &ImageReference) -> ImportError {
        let reference = reference.to_string();
        match self {
            Self::Tree(source) => ImportError::Tree { reference, source },
            Self::Layout(source) => ImportError::Layout { reference, source },
            Self::Import(error) => error,
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Import(error.into())
    }
}

impl From<TreeError> for Fault {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

impl From<LayoutError> for Fault {
    fn from(error: LayoutError) -> Self {
        Self::Layout(error)
    }
}

impl From<ImportError> for Fault {
    fn from(error: ImportError) -> Self {
        Self::Import(error)
    }
}
