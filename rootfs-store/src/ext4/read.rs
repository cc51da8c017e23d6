//! A reader of ext4 that changes nothing: all files of a disk that a guest wrote, with all that is said about them.
//!
//! Where a guest was cut off, the journal is replayed in memory. Checksums of metadata are verified where there are
//! any. What it can't read, on purpose: file systems that other kernels than ours would make (block maps, inline data,
//! encryption, case folding, clusters, journals elsewhere or with fast commits).
//!
//! Invariant: nothing that the disk says about itself leads past its end, into a cycle, or to more memory than
//! [`Limits`] allow.

mod budget;
mod directory;
mod disk;
mod error;
mod extents;
mod fields;
mod inode;
mod journal;
mod superblock;
mod walk;
mod xattr;

use std::collections::BTreeMap;

use crate::store::StoreError;
use crate::tree::{Attributes, Device, Limits};
use disk::Disk;
pub use error::ReadError;
use superblock::Superblock;

/// Bytes that a file system is read from.
pub trait ReadAt {
    /// How many there are.
    fn size(&self) -> u64;

    /// Fills `buf` with the bytes that start at `offset`, none of which is past the end.
    ///
    /// # Errors
    /// Why they can't be had.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError>;
}

/// Index of a file in its [`FileTree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(u32);

impl FileId {
    /// The root directory.
    pub const ROOT: Self = Self(0);

    /// Position among the files of the tree, from 0 on.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A file of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Owner, mode and so on.
    pub attributes: Attributes,
    /// Its kind and what is particular to it.
    pub kind: FileKind,
}

/// The kinds of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileKind {
    /// A directory, without `.` and `..`.
    Directory(BTreeMap<Box<[u8]>, FileId>),
    /// A regular file.
    Regular(Content),
    /// A symbolic link and its target.
    Symlink(Box<[u8]>),
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// Where the bytes of a regular file are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Length of the file in bytes.
    pub len: u64,
    /// The pieces that are not holes, in order and apart. They may pass the end of the file.
    pub(crate) runs: Box<[BlockRun]>,
}

/// Blocks of a file that follow each other on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockRun {
    /// The first one's number in the file.
    pub(crate) first: u32,
    pub(crate) blocks: u32,
    /// The first one's number on the disk.
    pub(crate) start: u64,
}

impl BlockRun {
    fn end(&self) -> u64 {
        u64::from(self.first) + u64::from(self.blocks)
    }
}

/// All files of a disk. Each directory has one name; other files may have more.
#[derive(Debug)]
pub struct FileTree {
    files: Vec<File>,
}

impl FileTree {
    /// The file with this number.
    #[must_use]
    pub fn file(&self, id: FileId) -> &File {
        &self.files[id.index()]
    }

    /// The numbers of all files.
    pub fn ids(&self) -> impl Iterator<Item = FileId> + use<> {
        // Their number was checked when they were read.
        (0..u32::try_from(self.files.len()).unwrap_or(u32::MAX)).map(FileId)
    }

    /// How many files there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always a root")]
    pub fn len(&self) -> usize {
        self.files.len()
    }
}

/// A file system on a disk.
#[derive(Debug)]
pub struct FileSystem<R> {
    disk: Disk<R>,
    superblock: Superblock,
}

impl<R: ReadAt> FileSystem<R> {
    /// Reads the superblock, and the journal if something is left in it.
    ///
    /// # Errors
    /// [`ReadError`] if there is no file system, one that can't be read here, or a damaged one.
    pub fn open(source: R) -> Result<Self, ReadError> {
        let size = source.size();
        let mut disk = Disk::new(source);
        let mut superblock = Superblock::parse(&disk.superblock()?, size)?;
        disk.set_geometry(&superblock);
        if superblock.needs_recovery {
            let replayed = journal::replay(&disk, &superblock)?;
            disk.set_replayed(replayed);
            let newer = Superblock::parse(&disk.superblock()?, size)?;
            if newer.block_bytes != superblock.block_bytes {
                return Err(ReadError::Superblock { what: "block size" });
            }
            superblock = newer;
            disk.set_geometry(&superblock);
        }
        Ok(Self { disk, superblock })
    }

    /// Reads everything but the contents of files.
    ///
    /// # Errors
    /// [`ReadError`] if something is damaged, or more than `limits` allow.
    pub fn tree(&self, limits: &Limits) -> Result<FileTree, ReadError> {
        let files = walk::walk(&self.disk, &self.superblock, limits)?;
        Ok(FileTree { files })
    }

    /// Fills `buf` with the bytes of a file that start at `offset`, and with zeros past its end.
    ///
    /// # Errors
    /// What reading the disk gives.
    pub fn read(&self, content: &Content, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.disk.read_content(content, offset, buf)
    }

    /// The first byte at or after `offset` that is in no hole; nothing if only holes are left.
    pub(crate) fn next_data(&self, content: &Content, offset: u64) -> Option<u64> {
        let block_bytes = u64::from(self.superblock.block_bytes);
        let next = content
            .runs
            .partition_point(|run| run.end() * block_bytes <= offset);
        let start = u64::from(content.runs.get(next)?.first) * block_bytes;
        Some(start.max(offset)).filter(|start| *start < content.len)
    }

    /// Where the blocks of a run are on the disk, in bytes; nothing if the journal has a newer one of them.
    pub(crate) fn plain_range(&self, run: &BlockRun) -> Option<std::ops::Range<u64>> {
        self.disk.plain_range(run)
    }
}
