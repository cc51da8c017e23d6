//! From the root directory to all files.
//!
//! Invariant: each directory is entered once, so the tree has no cycles, whatever the disk says.

use std::collections::{BTreeMap, HashMap};

use super::budget::Budget;
use super::directory;
use super::disk::Disk;
use super::inode::{Inode, Inodes, SOCKET};
use super::superblock::Superblock;
use super::{Content, File, FileId, FileKind, ReadAt, ReadError, extents, xattr};
use crate::ext4::format::{FIRST_INO, ROOT_INO, flag, mode};
use crate::tree::{Attributes, Limits};

/// Longest target of a symbolic link (Linux: `PATH_MAX` without its NUL).
const MAX_TARGET_BYTES: u64 = 4095;
/// Targets shorter than this are in the inode.
const MAX_FAST_TARGET_BYTES: u64 = 60;
/// What a block of a directory counts for beyond its names: an allowance of 1 GiB lets 16 GiB of them be read.
const BLOCK_COST: usize = 256;
/// What a file takes in memory, about.
const FILE_COST: usize = 64;

/// All files, the root first.
pub(super) fn walk<R: ReadAt>(
    disk: &Disk<R>,
    superblock: &Superblock,
    limits: &Limits,
) -> Result<Vec<File>, ReadError> {
    let mut walk = Walk {
        disk,
        superblock,
        inodes: Inodes::new(disk, superblock),
        budget: Budget::new(limits),
        files: Vec::new(),
        by_ino: HashMap::new(),
        open: Vec::new(),
    };
    walk.file(ROOT_INO)?;
    if walk.open.is_empty() {
        return Err(ReadError::Inode {
            ino: ROOT_INO,
            what: "type",
        });
    }
    while let Some((id, inode)) = walk.open.pop() {
        let entries = walk.directory(&inode)?;
        walk.files[id.index()].kind = FileKind::Directory(entries);
    }
    Ok(walk.files)
}

struct Walk<'a, R> {
    disk: &'a Disk<R>,
    superblock: &'a Superblock,
    inodes: Inodes<'a, R>,
    budget: Budget,
    files: Vec<File>,
    by_ino: HashMap<u32, FileId>,
    /// Directories whose entries were not read yet.
    open: Vec<(FileId, Inode)>,
}

impl<R: ReadAt> Walk<'_, R> {
    /// The entries of a directory, and all about the files that they name.
    fn directory(&mut self, inode: &Inode) -> Result<BTreeMap<Box<[u8]>, FileId>, ReadError> {
        let block_bytes = u64::from(self.superblock.block_bytes);
        let blocks = inode.size / block_bytes;
        if !inode.size.is_multiple_of(block_bytes) {
            return Err(inode.damaged("size"));
        }
        let mut found = BTreeMap::new();
        let mut next = 0;
        for run in extents::runs(self.disk, inode, &mut self.budget)? {
            for (number, block) in (run.first..).zip(run.start..run.start + u64::from(run.blocks)) {
                if u64::from(number) >= blocks {
                    break;
                }
                if u64::from(number) != next {
                    return Err(inode.damaged("list of blocks"));
                }
                next += 1;
                self.directory_block(inode, number, block, &mut found)?;
            }
        }
        match next == blocks {
            true => Ok(found),
            false => Err(inode.damaged("list of blocks")),
        }
    }

    fn directory_block(
        &mut self,
        inode: &Inode,
        number: u32,
        block: u64,
        found: &mut BTreeMap<Box<[u8]>, FileId>,
    ) -> Result<(), ReadError> {
        let damaged = |what| ReadError::Block {
            ino: inode.ino,
            block,
            what,
        };
        self.budget.metadata(BLOCK_COST)?;
        let bytes = self.disk.block(block)?;
        if let Some(seed) = inode.checksum_seed
            && !directory::checksum_is_right(&bytes, number, inode.has(flag::INDEX), seed)
        {
            return Err(damaged("checksum"));
        }
        for entry in directory::entries(&bytes).map_err(damaged)? {
            self.budget.entry(entry.name.len())?;
            let id = self.file(entry.ino)?;
            if found.insert(entry.name.into(), id).is_some() {
                return Err(damaged("name"));
            }
        }
        Ok(())
    }

    /// The file with this inode, which is read the first time.
    fn file(&mut self, ino: u32) -> Result<FileId, ReadError> {
        if let Some(id) = self.by_ino.get(&ino) {
            return match self.files[id.index()].kind {
                FileKind::Directory(_) => Err(ReadError::Inode {
                    ino,
                    what: "place among the directories",
                }),
                _ => Ok(*id),
            };
        }
        if ino < FIRST_INO && ino != ROOT_INO {
            return Err(ReadError::Inode {
                ino,
                what: "number",
            });
        }
        self.budget.metadata(FILE_COST)?;
        let inode = self.inodes.read(ino)?;
        let index = u32::try_from(self.files.len()).map_err(|_| ReadError::TooMuch {
            what: "files",
            limit: u64::from(u32::MAX),
        })?;
        let id = FileId(index);
        let file = File {
            kind: self.kind(&inode)?,
            attributes: self.attributes(&inode)?,
        };
        if matches!(file.kind, FileKind::Directory(_)) {
            self.open.push((id, inode));
        }
        self.files.push(file);
        self.by_ino.insert(ino, id);
        Ok(id)
    }

    fn attributes(&mut self, inode: &Inode) -> Result<Attributes, ReadError> {
        let seed = self.superblock.checksum_seed;
        Ok(Attributes {
            mode: inode.permissions(),
            uid: inode.uid,
            gid: inode.gid,
            mtime: inode.mtime,
            xattrs: xattr::read(self.disk, &mut self.inodes, inode, seed, &mut self.budget)?,
        })
    }

    fn kind(&mut self, inode: &Inode) -> Result<FileKind, ReadError> {
        if inode.has(flag::EA_INODE) {
            return Err(inode.damaged("type"));
        }
        match inode.kind() {
            mode::DIRECTORY => Ok(FileKind::Directory(BTreeMap::new())),
            mode::FILE => Ok(FileKind::Regular(Content {
                len: inode.size,
                runs: extents::runs(self.disk, inode, &mut self.budget)?.into(),
            })),
            mode::SYMLINK => self.target(inode).map(FileKind::Symlink),
            mode::CHAR_DEVICE => Ok(FileKind::CharDevice(inode.device())),
            mode::BLOCK_DEVICE => Ok(FileKind::BlockDevice(inode.device())),
            mode::FIFO => Ok(FileKind::Fifo),
            SOCKET => Ok(FileKind::Socket),
            _ => Err(inode.damaged("type")),
        }
    }

    fn target(&mut self, inode: &Inode) -> Result<Box<[u8]>, ReadError> {
        let fast = !inode.has(flag::EXTENTS);
        let limit = if fast {
            MAX_FAST_TARGET_BYTES - 1
        } else {
            MAX_TARGET_BYTES
        };
        if inode.size == 0 || inode.size > limit {
            return Err(inode.damaged("size"));
        }
        // At most 4095.
        let mut target = vec![0; usize::try_from(inode.size).unwrap_or(0)];
        self.budget.metadata(target.len())?;
        if fast {
            let len = target.len();
            target.copy_from_slice(&inode.body[..len]);
        } else {
            let runs = extents::runs(self.disk, inode, &mut self.budget)?;
            let content = Content {
                len: inode.size,
                runs: runs.into(),
            };
            self.disk.read_content(&content, 0, &mut target)?;
        }
        match target.contains(&0) {
            true => Err(inode.damaged("target")),
            false => Ok(target.into()),
        }
    }
}
