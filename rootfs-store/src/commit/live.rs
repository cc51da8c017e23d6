//! Snapshots of disks that go on being written, in steps: what takes time is done before and after the moment at which
//! a guest has to stand still.
//!
//! Invariant: whichever step is the last one, the disk holds all that it held, and its next commit includes it.

use std::fmt;
use std::sync::{Arc, MutexGuard};

use super::{CommitError, Committed};
use crate::disk::{Base, DiskError, Overlay, Stack, WritableDisk};
use crate::progress::Progress;
use crate::store::Store;

/// A disk that can be frozen at once; from [`Store::prepare_freeze`].
///
/// While it is there, nobody else commits the disk.
#[must_use = "nothing is frozen before `freeze`"]
pub struct PreparedFreeze<'a> {
    disk: &'a WritableDisk,
    fresh: Overlay,
    alone: MutexGuard<'a, ()>,
}

/// What a disk held at one moment, for [`Store::commit_frozen`].
///
/// While it is there, nobody else commits the disk: a commit waits until this is dropped, on this thread for ever.
#[must_use = "it is no snapshot before `commit_frozen`"]
pub struct Frozen<'a> {
    disk: &'a WritableDisk,
    stack: Arc<Stack>,
    _alone: MutexGuard<'a, ()>,
}

impl<'a> PreparedFreeze<'a> {
    /// Takes what the disk holds at this moment: each write that has returned, and none that begins afterwards.
    ///
    /// Nothing is read or written, however much the disk holds; it waits for a write that is under way.
    pub fn freeze(self) -> Frozen<'a> {
        let Self { disk, fresh, alone } = self;
        Frozen {
            disk,
            stack: disk.switch_to(fresh),
            _alone: alone,
        }
    }
}

impl Store {
    /// Makes ready what [`PreparedFreeze::freeze`] needs, so that it takes no time itself. Dropping the result changes
    /// nothing.
    ///
    /// # Errors
    /// [`DiskError`], if there is no room for instance.
    pub fn prepare_freeze<'a>(
        &self,
        disk: &'a WritableDisk,
    ) -> Result<PreparedFreeze<'a>, DiskError> {
        let alone = disk.commit_alone();
        let fresh = disk.fresh_overlay()?;
        Ok(PreparedFreeze { disk, fresh, alone })
    }

    /// Makes a snapshot of what a disk held when it was frozen, while it goes on being read and written.
    ///
    /// The disk has the snapshot as its base afterwards, and takes up the space of newer writes only.
    ///
    /// # Errors
    /// [`CommitError`]; the disk holds what it held, and a later commit includes all of it.
    pub fn commit_frozen(
        &self,
        frozen: Frozen<'_>,
        progress: &dyn Progress,
    ) -> Result<Committed, CommitError> {
        let Frozen { disk, stack, .. } = &frozen;
        // A write that could not be kept shows here, and not in what is read back.
        stack.flush()?;
        let committed = self.commit_stack(stack, disk.boot_profile(), progress)?;
        if stack.is_base_alone() {
            disk.remove_unused_overlays()?;
        } else {
            let base = self.snapshot(&committed.snapshot)?;
            disk.rebase(stack, Base::of(&base))?;
        }
        Ok(committed)
    }

    /// Makes a snapshot of what a disk holds at this moment, while it goes on being read and written: all steps in one.
    ///
    /// Writes wait for the switch to a new overlay only, which takes the same short time however much was written. The
    /// snapshot holds each write that had returned when this was called, and none that began after the switch. The
    /// disk has it as its base afterwards, and takes up the space of newer writes only.
    ///
    /// # Errors
    /// [`CommitError`]; the disk holds what it held, and a later commit includes all of it.
    pub fn commit_live(
        &self,
        disk: &WritableDisk,
        progress: &dyn Progress,
    ) -> Result<Committed, CommitError> {
        self.commit_frozen(self.prepare_freeze(disk)?.freeze(), progress)
    }
}

impl fmt::Debug for PreparedFreeze<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedFreeze")
            .field("disk", &self.disk)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Frozen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frozen")
            .field("disk", &self.disk)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
