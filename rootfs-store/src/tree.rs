//! The file tree of an image: its layers applied in order, contents aside in a spool file.
//!
//! Invariant: a path of a layer only ever names a node of this tree, never a file of the host.

mod apply;
mod contents;
mod error;
mod header;
mod node;
mod path;
mod pax;
mod pipeline;
mod sink;
mod sparse;
mod spool;
mod tar_stream;

use std::io::{self, BufRead};
use std::path::Path;

use crate::image::{Image, Layer};
use crate::progress::Progress;
use apply::{Applier, Fault};
pub use error::{EntryFault, TarFault, TreeError};
pub use node::{
    Attributes, BLOCK, Content, Device, Directory, Inode, InodeId, Kind, Run, Time, Xattrs,
};
pub(crate) use path::{LayerPath, MAX_NAME_LEN, MAX_PATH_LEN, MAX_SYMLINK_HOPS, printable};
use pipeline::Budget;
pub(crate) use sink::{FileChunk, Sink, sink};
pub(crate) use spool::ELSEWHERE;
use spool::Spool;
pub(crate) use tar_stream::{Entries, EntryKind, MAX_PAX_BYTES};

/// What an image may cost, over all its layers.
///
/// # Memory
/// Contents are never held all at once; an import takes at most
/// - 64 MiB for buffers at the default size of chunks, however large the image is (17 MiB were measured for one of
///   600 MiB), 64 bytes more for each byte that chunks are larger, and what a zstd layer's window has over 8 MiB (zstd
///   refuses windows of more than 128 MiB);
/// - 1 KiB for each entry (490 bytes were measured, with short names, where every second is a directory), so 4 GiB
///   where [`Self::entries`] is used up, and three times what counts as [`Self::metadata_bytes`];
/// - 750 bytes for each chunk of the disk that holds something, and 470 for each chunk of a large file that later entries
///   replaced.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most bytes of unpacked tar streams.
    pub unpacked_bytes: u64,
    /// Most entries, implied directories among them.
    pub entries: u64,
    /// Most bytes of names, link targets, extended attributes and sparse maps, all held in memory.
    pub metadata_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unpacked_bytes: 256 << 30,
            entries: 4_000_000,
            metadata_bytes: 1 << 30,
        }
    }
}

/// All files of an image.
#[derive(Debug)]
pub struct Tree {
    inodes: Vec<Inode>,
    spool: Spool,
}

impl Tree {
    /// A tree with nothing but a root directory; its contents will be kept in an unnamed file in `spool_dir`.
    ///
    /// # Errors
    /// [`TreeError::Spool`] if that file can't be made.
    pub fn new(spool_dir: &Path) -> Result<Self, TreeError> {
        let spool = Spool::create(spool_dir).map_err(|source| TreeError::Spool {
            dir: spool_dir.to_owned(),
            source,
        })?;
        let root = Inode {
            attributes: Attributes::implied_directory(),
            kind: Kind::Directory(Directory::default()),
        };
        Ok(Self {
            inodes: vec![root],
            spool,
        })
    }

    /// The inode with this number.
    #[must_use]
    pub fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id.index()]
    }

    /// Fills `buf` from offset `spool_offset` of the spool, where a [`Run`] says that a file's bytes are.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn read_spool(&self, spool_offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.spool.read_at(spool_offset, buf)
    }

    /// How many inodes there are, those that no path leads to any more among them.
    pub(crate) fn inode_count(&self) -> usize {
        self.inodes.len()
    }
}

/// Applies all layers of `image` in order.
///
/// Each blob is read once, front to back: its digest, its size and its `diff_id` are verified while its entries are
/// applied. Memory holds names and attributes; contents go to an unnamed file in `spool_dir`, which needs room for
/// the unpacked image.
///
/// # Errors
/// Any [`TreeError`]; the unnamed file is gone in any case.
pub fn build(
    image: &Image,
    spool_dir: &Path,
    limits: &Limits,
    progress: &dyn Progress,
) -> Result<Tree, TreeError> {
    let mut builder = Builder::new(image, spool_dir, limits, progress)?;
    while builder.next_layer(None)?.is_some() {}
    builder.finish()
}

/// Applies the layers of an image one by one, as [`build`] does.
pub(crate) struct Builder<'a> {
    layers: std::slice::Iter<'a, Layer>,
    applier: Applier<'a>,
    budget: Budget<'a>,
}

impl<'a> Builder<'a> {
    /// An empty tree.
    pub(crate) fn new(
        image: &'a Image,
        spool_dir: &Path,
        limits: &'a Limits,
        progress: &'a dyn Progress,
    ) -> Result<Self, TreeError> {
        Ok(Self {
            layers: image.layers.iter(),
            applier: Applier::new(Tree::new(spool_dir)?, limits),
            budget: Budget::new(image.layers_bytes, limits.unpacked_bytes, progress),
        })
    }

    /// Applies the next layer and returns the size of its tar stream in bytes; nothing if there is none. Contents that
    /// `sink` takes can't be read from the tree.
    pub(crate) fn next_layer(&mut self, sink: Option<&Sink>) -> Result<Option<u64>, TreeError> {
        let Some(layer) = self.layers.next() else {
            return Ok(None);
        };
        let before = self.budget.unpacked_bytes();
        let applier = &mut self.applier;
        pipeline::unpack(layer, &mut self.budget, |stream| {
            apply_stream(applier, layer.name(), stream, sink)
        })?;
        Ok(Some(self.budget.unpacked_bytes() - before))
    }

    /// Whether all layers were applied.
    pub(crate) fn is_done(&self) -> bool {
        self.layers.len() == 0
    }

    /// The tree of the layers so far.
    pub(crate) fn tree(&mut self) -> Result<&Tree, TreeError> {
        self.applier.tree()
    }

    /// The tree of the layers so far, for good.
    pub(crate) fn finish(self) -> Result<Tree, TreeError> {
        self.applier.finish()
    }
}

/// Applies plain tar streams, which nothing protects by a digest.
///
/// # Errors
/// Any [`TreeError`] about an entry or the spool.
pub fn build_from_plain_layers(
    layers: &[&[u8]],
    spool_dir: &Path,
    limits: &Limits,
) -> Result<Tree, TreeError> {
    let mut applier = Applier::new(Tree::new(spool_dir)?, limits);
    for (index, layer) in layers.iter().enumerate() {
        apply_stream(&mut applier, &format!("#{index}"), *layer, None)?;
    }
    applier.finish()
}

/// Applies every entry of one layer, then reads on to the stream's end, so that all of it is hashed.
fn apply_stream<R: BufRead>(
    applier: &mut Applier<'_>,
    layer: &str,
    stream: R,
    sink: Option<&Sink>,
) -> Result<(), TreeError> {
    let mut entries = Entries::new(stream);
    applier.start_layer();
    while apply_next(applier, &mut entries, sink)
        .map_err(|fault| fault.in_entry(layer, printable(entries.name()), entries.offset()))?
    {}
    Ok(())
}

/// Applies the next entry; `false` once there is none, and the stream was read to its end.
fn apply_next<R: BufRead>(
    applier: &mut Applier<'_>,
    entries: &mut Entries<R>,
    sink: Option<&Sink>,
) -> Result<bool, Fault> {
    match entries.next()? {
        Some(entry) => applier.apply(entry, entries, sink).map(|()| true),
        None => Ok(entries.read_rest().map(|()| false)?),
    }
}
