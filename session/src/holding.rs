//! What a session holds of its store while it runs: the lock on its folder, its record and its disk.
//!
//! Invariant: at every moment, a process that dies leaves a session that can be resumed with everything that its
//! guest had flushed, or no session. A record that says `Stopped` names the snapshots that the disks are, so that disks
//! beside it are leftovers; a record that says `Open` has all its disks.

use std::sync::Arc;

use rootfs_store::{Lease, Progress};

use crate::disk::RootDisk;
use crate::disks::{self, Disks};
use crate::error::{Error, Repr};
use crate::event::Events;
use crate::folder::{self, LockedFolder};
use crate::record::{Record, RecordState};
use crate::snapshot::Snapshot;

/// A session that is locked by this process.
#[derive(Debug)]
pub(crate) struct Holding {
    store: rootfs_store::Store,
    // The disks go before the lock: whoever gets the lock next may open them.
    disks: Option<Disks>,
    folder: LockedFolder,
    record: Record,
    /// The record as it was before this process took the session, and is again if its start fails.
    found: Option<Record>,
    /// Keeps the snapshot that the disk shall begin as, until the disk does.
    lease: Option<Lease>,
    /// Who is told of what happens to the disk.
    events: Arc<Events>,
}

impl Holding {
    /// Makes a new session at rest: its disk is the snapshot that its record names.
    pub(crate) fn create(store: &rootfs_store::Store, mut record: Record) -> Result<Self, Error> {
        let folder = folder::create(store.dir(), &record.id)?;
        let held = || -> Result<(), Error> {
            disks::name_all(store, &record)?;
            record.created = folder::now();
            folder.set_state(&mut record, RecordState::Stopped)
        }();
        let holding = Self {
            store: store.clone(),
            disks: None,
            folder,
            record,
            found: None,
            lease: None,
            events: Arc::default(),
        };
        match held {
            Ok(()) => Ok(holding),
            Err(error) => {
                holding.give_back();
                Err(error)
            }
        }
    }

    /// Takes a session that exists.
    pub(crate) fn take(store: &rootfs_store::Store, id: &str) -> Result<Self, Error> {
        let folder = folder::open(store.dir(), id)?;
        let record = folder.record()?;
        let found = Some(record.clone());
        Ok(Self {
            store: store.clone(),
            disks: None,
            folder,
            record,
            found,
            lease: None,
            events: Arc::default(),
        })
    }

    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// What is changed here is written with the next change of state.
    pub(crate) fn record_mut(&mut self) -> &mut Record {
        &mut self.record
    }

    /// Keeps a snapshot that nothing names yet, until the disk was opened.
    pub(crate) fn keep_until_open(&mut self, lease: Option<Lease>) {
        self.lease = lease;
    }

    pub(crate) fn folder(&self) -> &LockedFolder {
        &self.folder
    }

    /// Says who is told of what happens to the disk, before it is opened.
    pub(crate) fn tell(&mut self, events: Arc<Events>) {
        self.events = events;
    }

    /// Opens the disks: fresh ones over the snapshots of a session at rest, those that are there if it was cut off.
    pub(crate) fn open_disks(&mut self) -> Result<&Disks, Error> {
        let disks = Disks::open(&self.store, &self.record, &self.events)?;
        let disks = self.disks.insert(disks);
        self.folder.set_state(&mut self.record, RecordState::Open)?;
        self.lease = None;
        Ok(disks)
    }

    /// Leaves the session as it was found, after a start that failed. The VM must be gone.
    pub(crate) fn give_back(mut self) {
        self.disks = None;
        let id = self.record.id.clone();
        let undone = match self.found.take() {
            None => self.discard(),
            Some(found) => self.restore(&found),
        };
        if let Err(error) = undone {
            tracing::warn!(%error, id, "could not undo the start of a session");
        }
    }

    /// The record goes first: disks beside one at rest are then known to be leftovers.
    fn restore(&self, found: &Record) -> Result<(), Error> {
        self.folder.write(found)?;
        if found.state == RecordState::Stopped {
            disks::remove(&self.store, found)?;
        }
        Ok(())
    }

    /// The root's disk, while it is open.
    pub(crate) fn disk(&self) -> Option<&Arc<RootDisk>> {
        self.disks.as_ref().map(Disks::root)
    }

    /// Makes snapshots of the disks and leaves the session stopped. The VM must be gone. If this fails the disks are
    /// kept, and it may be tried again.
    pub(crate) fn commit(
        &mut self,
        clean: bool,
        progress: &dyn Progress,
    ) -> Result<Snapshot, Error> {
        let disks = self.disks.as_ref().ok_or(Repr::NotRunning {
            state: "it has no disk",
        })?;
        let snapshot = disks.commit(&self.store, &mut self.record, clean, progress)?;
        self.folder
            .set_state(&mut self.record, RecordState::Stopped)?;
        self.disks = None;
        if let Err(error) = disks::remove(&self.store, &self.record) {
            tracing::warn!(%error, "could not remove disks that are snapshots now");
        }
        Ok(snapshot)
    }

    /// Throws the session and its disks away. The VM must be gone.
    pub(crate) fn discard(mut self) -> Result<(), Error> {
        self.disks = None;
        self.folder.remove_record()?;
        disks::discard(&self.store, &self.record.id)?;
        self.folder.remove()
    }
}

#[cfg(test)]
mod tests;
