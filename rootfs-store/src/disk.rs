//! Copy-on-write disks over a snapshot.
//!
//! Invariant: what a disk is made of changes as a whole, while nobody is in the middle of a write; reads go on with
//! what they began with.

mod blocks;
mod error;
mod generations;
mod lifetime;
mod live;
mod map;
mod overlay;
mod recording;
mod stack;
mod target;
mod trouble;

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use arc_swap::ArcSwap;

use crate::digest::SnapshotDigest;
use crate::profile::BootProfile;
use crate::store::Inner;
pub use error::DiskError;
pub(crate) use generations::{allocated_bytes, bases, check};
use map::BLOCK_LEN;
pub use map::{BLOCK_BYTES, Header as MapHeader, MapError, open_sector, seal_sector};
pub(crate) use overlay::Overlay;
use recording::Recording;
pub(crate) use stack::{Base, Stack};
use target::{IntoSlice, all_put};
pub use target::{ReadInto, WriteFrom};
pub use trouble::RemoteTrouble;
use trouble::TroubleLog;

/// A writable disk: a snapshot, and the blocks that were written since.
///
/// All methods may be called from several threads at a time. What two calls that overlap in bytes and in time leave
/// is one or the other, block by block.
#[derive(Debug)]
pub struct WritableDisk {
    store: Arc<Inner>,
    dir: PathBuf,
    /// Its lock keeps others from using the disk.
    _folder: File,
    size: u64,
    stack: ArcSwap<Stack>,
    /// Shared by writes of whole blocks; held alone by those that have to keep a part of a block, or change the stack.
    writing: RwLock<()>,
    /// Held by a commit.
    committing: Mutex<()>,
    /// That of the next snapshots, if it was recorded.
    profile: Mutex<Option<BootProfile>>,
    recording: Recording,
    trouble: TroubleLog,
}

impl WritableDisk {
    /// The snapshot that the disk began as, or the one that a live commit made of it last.
    #[must_use]
    pub fn base(&self) -> SnapshotDigest {
        self.stack.load().base.digest
    }

    /// Size in bytes, a multiple of [`BLOCK_BYTES`].
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that the blocks written so far take on the host.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    pub fn allocated_bytes(&self) -> Result<u64, DiskError> {
        let stack = self.stack.load();
        stack
            .overlays
            .iter()
            .map(|overlay| overlay.allocated_bytes())
            .sum()
    }

    /// Sets the boot profile of the snapshots that are made of the disk from now on; without one, they have that of the
    /// disk's base.
    pub fn set_boot_profile(&self, profile: BootProfile) {
        *self.profile.lock().unwrap_or_else(PoisonError::into_inner) = Some(profile);
    }

    pub(crate) fn boot_profile(&self) -> Option<BootProfile> {
        let profile = self.profile.lock();
        profile.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fills `buf` with the bytes that start at `offset`.
    ///
    /// # Errors
    /// [`DiskError::OutOfRange`] leaves `buf` as it was; with others it may hold anything.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        self.read_into(&mut IntoSlice::new(buf), offset)
    }

    /// Puts the bytes that start at `offset` into `target`: all that remain of it. Bytes that were written to
    /// the disk come straight from their file, others from the cache of chunks.
    ///
    /// # Errors
    /// [`DiskError::OutOfRange`] before anything is put; with others, anything may have been put.
    pub fn read_into(&self, target: &mut dyn ReadInto, offset: u64) -> Result<(), DiskError> {
        let len = target.remaining();
        self.check(offset, len as u64)?;
        let stack = self.stack.load();
        let result = stack.read_into(&self.store.source, target, offset, len);
        let result = result.and_then(|()| all_put(target));
        if result.is_ok() {
            self.record(&stack, offset..offset + len as u64);
        }
        self.trouble.note(match result {
            // A commit may have taken away what lay below meanwhile.
            Err(_) if !Arc::ptr_eq(&stack, &self.stack.load()) => {
                target.restart();
                let stack = self.stack.load();
                let again = stack.read_into(&self.store.source, target, offset, len);
                again.and_then(|()| all_put(target))
            }
            result => result,
        })
    }

    /// Writes all of `buf` at `offset`.
    ///
    /// # Errors
    /// Any [`DiskError`]; each block then holds the old or the new bytes, or some of each if it was written before.
    pub fn write_at(&self, buf: &[u8], offset: u64) -> Result<(), DiskError> {
        self.check(offset, buf.len() as u64)?;
        if buf.is_empty() {
            return Ok(());
        }
        let range = offset..offset + buf.len() as u64;
        if range.start.is_multiple_of(BLOCK_BYTES) && range.end.is_multiple_of(BLOCK_BYTES) {
            let _others_write_too = self.writing.read().unwrap_or_else(PoisonError::into_inner);
            return self.write_blocks(&self.stack.load(), buf, range);
        }
        let _alone = self.writing.write().unwrap_or_else(PoisonError::into_inner);
        let stack = self.stack.load();
        self.fill_partial_blocks(&stack, &range)?;
        self.write_blocks(&stack, buf, range)
    }

    /// Writes what remains of `source` at `offset`: whole blocks go straight to their file.
    ///
    /// # Errors
    /// As for [`Self::write_at`].
    pub fn write_from(&self, source: &mut dyn WriteFrom, offset: u64) -> Result<(), DiskError> {
        let len = source.remaining();
        self.check(offset, len as u64)?;
        let range = offset..offset + len as u64;
        if !range.start.is_multiple_of(BLOCK_BYTES) || !range.end.is_multiple_of(BLOCK_BYTES) {
            let mut buffer = vec![0; len];
            source
                .take(&mut buffer)
                .map_err(|source| DiskError::Target { source })?;
            return self.write_at(&buffer, offset);
        }
        let _others_write_too = self.writing.read().unwrap_or_else(PoisonError::into_inner);
        let stack = self.stack.load();
        let highest = self.highest(&stack)?;
        highest.write_from(source, offset, len)?;
        highest.hold(blocks_over(range));
        Ok(())
    }

    fn write_blocks(&self, stack: &Stack, buf: &[u8], range: Range<u64>) -> Result<(), DiskError> {
        let highest = self.highest(stack)?;
        highest.write(buf, range.start)?;
        highest.hold(blocks_over(range));
        Ok(())
    }

    /// The overlay that takes writes.
    fn highest<'a>(&self, stack: &'a Stack) -> Result<&'a Overlay, DiskError> {
        let no_overlay = || DiskError::NoOverlay {
            dir: self.dir.clone(),
        };
        stack
            .overlays
            .last()
            .map(|highest| &**highest)
            .ok_or_else(no_overlay)
    }

    /// Makes all that was written so far durable.
    ///
    /// # Errors
    /// Any [`DiskError`]. After that no flush succeeds any more, as what this one should have saved may be lost.
    pub fn flush(&self) -> Result<(), DiskError> {
        self.stack.load().flush()
    }

    /// Gives back the space of the whole blocks in this range, which read as zeros from then on.
    ///
    /// # Errors
    /// Any [`DiskError`], as for [`Self::write_at`].
    pub fn discard(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        self.check(offset, len)?;
        let whole =
            offset.next_multiple_of(BLOCK_BYTES)..(offset + len) / BLOCK_BYTES * BLOCK_BYTES;
        self.clear(whole)
    }

    /// Makes the range read as zeros; whole blocks give their space back.
    ///
    /// # Errors
    /// Any [`DiskError`], as for [`Self::write_at`].
    pub fn write_zeroes(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        const ZEROS: [u8; BLOCK_LEN] = [0; BLOCK_LEN];
        self.check(offset, len)?;
        let end = offset + len;
        let whole = offset.next_multiple_of(BLOCK_BYTES)..end / BLOCK_BYTES * BLOCK_BYTES;
        if whole.is_empty() && offset / BLOCK_BYTES == end / BLOCK_BYTES {
            return self.write_at(&ZEROS[..in_block(end) - in_block(offset)], offset);
        }
        let before = in_block(whole.start - offset);
        self.write_at(&ZEROS[..before], offset)?;
        self.write_at(&ZEROS[..in_block(end)], end / BLOCK_BYTES * BLOCK_BYTES)?;
        self.clear(whole)
    }

    /// Whole blocks become holes of the overlay; those that are zero in the base anyway need not be named in the map.
    fn clear(&self, whole: Range<u64>) -> Result<(), DiskError> {
        if whole.is_empty() {
            return Ok(());
        }
        let _others_write_too = self.writing.read().unwrap_or_else(PoisonError::into_inner);
        let stack = self.stack.load();
        let highest = self.highest(&stack)?;
        highest.clear(whole.clone())?;
        let chunk_bytes = u64::from(stack.base.chunk_bytes);
        let mut start = whole.start;
        while start < whole.end {
            let chunk = start / chunk_bytes;
            let end = ((chunk + 1) * chunk_bytes).min(whole.end);
            let blocks = blocks_over(start..end);
            let below = stack.base.index.get(&self.store.source, chunk);
            let below = self.trouble.note(below.map_err(DiskError::from))?;
            if below.is_some() || blocks.clone().any(|block| stack.holds(block)) {
                highest.hold(blocks);
            }
            start = end;
        }
        Ok(())
    }

    /// Copies from below what a write leaves of its first and last block.
    fn fill_partial_blocks(&self, stack: &Stack, range: &Range<u64>) -> Result<(), DiskError> {
        let highest = self.highest(stack)?;
        let blocks = blocks_over(range.clone());
        let (first, last) = (blocks.start, blocks.end - 1);
        let first_is_partial =
            !range.start.is_multiple_of(BLOCK_BYTES) || range.end < (first + 1) * BLOCK_BYTES;
        let last_is_partial = last != first && !range.end.is_multiple_of(BLOCK_BYTES);
        for (block, partial) in [(first, first_is_partial), (last, last_is_partial)] {
            if partial && !highest.blocks.get(block) {
                let mut buffer = [0; BLOCK_LEN];
                let start = block * BLOCK_BYTES;
                let read = stack.read(&self.store.source, &mut buffer, start);
                self.trouble.note(read)?;
                self.record(stack, start..start + BLOCK_BYTES);
                highest.write(&buffer, block * BLOCK_BYTES)?;
            }
        }
        Ok(())
    }

    /// What the disk is made of now.
    pub(crate) fn stack(&self) -> Arc<Stack> {
        self.stack.load_full()
    }

    /// Waits for a commit that is under way, and keeps others away.
    pub(crate) fn commit_alone(&self) -> MutexGuard<'_, ()> {
        self.committing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, start: u64, len: u64) -> Result<(), DiskError> {
        match start.checked_add(len) {
            Some(end) if end <= self.size => Ok(()),
            end => Err(DiskError::OutOfRange {
                start,
                end: end.unwrap_or(u64::MAX),
                size: self.size,
            }),
        }
    }
}

/// Numbers of the blocks that the bytes of `range` lie in.
fn blocks_over(range: Range<u64>) -> Range<u64> {
    range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES)
}

fn in_block(offset: u64) -> usize {
    usize::try_from(offset % BLOCK_BYTES).unwrap_or(0)
}

#[cfg(test)]
mod tests;
