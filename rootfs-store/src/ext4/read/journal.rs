//! Replays the journal of a file system that was not unmounted, without writing: finds for each block the newest
//! version that a complete transaction holds. (Linux: `fs/jbd2/recovery.c`.)
//!
//! Invariant: what is returned is the state after a whole number of transactions, or there is an error: a transaction
//! that was complete and is damaged since is never left out.

mod format;

use std::collections::{BTreeMap, HashMap};

use super::budget::Budget;
use super::disk::{Disk, Replayed};
use super::inode::{Inode, Inodes};
use super::superblock::Superblock;
use super::{BlockRun, ReadAt, ReadError, extents};
use crate::tree::Limits;
pub(super) use format::MAGIC;
use format::{Kind, Log, Tag};

/// Largest journal, in blocks: four times as many as mke2fs makes.
const MAX_JOURNAL_BLOCKS: u32 = 1 << 20;
/// What the extents of a journal may take in memory.
const MAX_EXTENT_BYTES: u64 = 16 << 20;

/// The newest versions of blocks that the journal has, by their numbers.
pub(super) fn replay<R: ReadAt>(
    disk: &Disk<R>,
    superblock: &Superblock,
) -> Result<BTreeMap<u64, Replayed>, ReadError> {
    let file = JournalFile::open(disk, superblock)?;
    let Some(log) = Log::parse(&file.block(0)?, superblock.block_bytes)? else {
        return Ok(BTreeMap::new());
    };
    if log.blocks > MAX_JOURNAL_BLOCKS {
        return Err(damaged(0, "length"));
    }
    let mut scan = Scan {
        file: &file,
        log,
        at: log.start,
        steps_left: log.blocks,
        sequence: log.sequence,
        committed_at: 0,
        newest: HashMap::new(),
    };
    while scan.transaction()? {}
    scan.finish()
}

pub(super) fn damaged(block: u32, what: &'static str) -> ReadError {
    ReadError::Journal {
        block: u64::from(block),
        what,
    }
}

/// The file that the journal is.
struct JournalFile<'a, R> {
    disk: &'a Disk<R>,
    runs: Vec<BlockRun>,
}

impl<'a, R: ReadAt> JournalFile<'a, R> {
    fn open(disk: &'a Disk<R>, superblock: &Superblock) -> Result<Self, ReadError> {
        if superblock.journal_ino == 0 {
            return Err(ReadError::Unsupported {
                feature: "a journal on another disk",
            });
        }
        let inode: Inode = Inodes::new(disk, superblock).read(superblock.journal_ino)?;
        let mut budget = Budget::new(&Limits {
            metadata_bytes: MAX_EXTENT_BYTES,
            ..Limits::default()
        });
        let runs = extents::runs(disk, &inode, &mut budget)?;
        Ok(Self { disk, runs })
    }

    /// Where a block of the journal is on the disk.
    fn place(&self, number: u32) -> Result<u64, ReadError> {
        let next = self
            .runs
            .partition_point(|run| run.end() <= u64::from(number));
        let run = self.runs.get(next).filter(|run| run.first <= number);
        let run = run.ok_or_else(|| damaged(number, "place"))?;
        Ok(run.start + u64::from(number - run.first))
    }

    fn block(&self, number: u32) -> Result<Vec<u8>, ReadError> {
        self.disk.block(self.place(number)?)
    }
}

/// The newest version of a block that was found so far.
struct Version {
    /// Number of the block in the journal.
    at: u32,
    sequence: u32,
    tag: Tag,
}

struct Scan<'a, R> {
    file: &'a JournalFile<'a, R>,
    log: Log,
    /// The next block of the journal.
    at: u32,
    /// How many blocks of the journal were not passed yet: a log that goes round in it is damaged.
    steps_left: u32,
    /// The next transaction.
    sequence: u32,
    /// When the last one was committed.
    committed_at: u64,
    newest: HashMap<u64, Version>,
}

impl<R: ReadAt> Scan<'_, R> {
    /// Takes in one transaction; `false` if none is left.
    fn transaction(&mut self) -> Result<bool, ReadError> {
        let mut written = Vec::new();
        let mut revoked = Vec::new();
        // What is left of earlier rounds in the journal may look like the next transaction, but for checksums.
        let mut doubtful = None;
        loop {
            let (number, block) = (self.at, self.file.block(self.at)?);
            let kind = match self.log.kind(&block, self.sequence) {
                Some(kind) if self.advance() => kind,
                _ => return Ok(false),
            };
            match kind {
                Kind::Descriptor => {
                    if !self.log.tail_is_right(&block) {
                        doubtful.get_or_insert(number);
                    }
                    for tag in self.log.tags(&block) {
                        written.push(Version {
                            at: self.at,
                            sequence: self.sequence,
                            tag: tag.ok_or_else(|| damaged(number, "list of blocks"))?,
                        });
                        if !self.advance() {
                            return Ok(false);
                        }
                    }
                }
                Kind::Revocation => {
                    if !self.log.tail_is_right(&block) {
                        doubtful.get_or_insert(number);
                    }
                    let blocks = self.log.revoked(&block);
                    revoked.extend(blocks.ok_or_else(|| damaged(number, "list of blocks"))?);
                }
                Kind::Commit => {
                    if !self.log.commit_is_right(&block) {
                        doubtful.get_or_insert(number);
                    }
                    return self.commit(&block, written, &revoked, doubtful);
                }
            }
        }
    }

    /// Takes the blocks of a transaction for the newest.
    fn commit(
        &mut self,
        block: &[u8],
        written: Vec<Version>,
        revoked: &[u64],
        doubtful: Option<u32>,
    ) -> Result<bool, ReadError> {
        let committed_at = Log::commit_time(block);
        match doubtful {
            Some(_) if committed_at < self.committed_at => return Ok(false),
            Some(number) => return Err(damaged(number, "checksum")),
            None => {}
        }
        for version in written {
            if !self.file.disk.is_on_device(version.tag.block) {
                return Err(damaged(version.at, "place on the disk"));
            }
            self.newest.insert(version.tag.block, version);
        }
        for block in revoked {
            self.newest.remove(block);
        }
        self.committed_at = committed_at;
        self.sequence = self.sequence.wrapping_add(1);
        Ok(true)
    }

    /// Goes on to the next block; `false` once all were passed.
    fn advance(&mut self) -> bool {
        self.at = match self.at + 1 {
            next if next < self.log.blocks => next,
            _ => self.log.first,
        };
        let left = self.steps_left.checked_sub(1);
        self.steps_left = left.unwrap_or(0);
        left.is_some()
    }

    /// Verifies the versions that count, and says where they are.
    fn finish(self) -> Result<BTreeMap<u64, Replayed>, ReadError> {
        let mut replayed = BTreeMap::new();
        for (block, version) in self.newest {
            let bytes = self.file.block(version.at)?;
            if !self
                .log
                .data_is_right(&bytes, &version.tag, version.sequence)
            {
                return Err(damaged(version.at, "checksum"));
            }
            let at = self.file.place(version.at)?;
            let escaped = version.tag.escaped;
            replayed.insert(block, Replayed { at, escaped });
        }
        Ok(replayed)
    }
}
