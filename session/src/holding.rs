//! What a session holds of its store while it runs: the lock on its folder, its record and its disk.
//!
//! Invariant: at every moment, a process that dies leaves a session that can be resumed with everything that its
//! guest had flushed, or no session. A record that says `Stopped` names the snapshots that the disks are, so that disks
//! beside it are leftovers; a record that says anything else has all its disks.

use std::sync::Arc;

use rootfs_store::{Lease, Progress};
use vmm_core::RateLimits;

use crate::clock;
use crate::disk::RootDisk;
use crate::disks::{self, Disks};
use crate::error::{Error, Repr};
use crate::event::Events;
use crate::folder::{self, LockedFolder};
use crate::record::{Record, RecordState};
use crate::snapshot::Snapshot;
use crate::store::{self, Store};

/// A session that is locked by this process.
#[derive(Debug)]
pub(crate) struct Holding {
    store: Store,
    // The disks go before the lock: whoever gets the lock next may open them.
    disks: Option<Disks>,
    folder: Arc<LockedFolder>,
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
    pub(crate) fn create(store: &Store, mut record: Record) -> Result<Self, Error> {
        let folder = Arc::new(folder::create(store.dir(), &record.id)?);
        record.created = clock::unix(store.clock());
        let mut holding = Self {
            store: store.clone(),
            disks: None,
            folder,
            record,
            found: None,
            lease: None,
            events: Arc::default(),
        };
        let held = disks::name_all(store.inner(), &holding.record);
        match held.and_then(|()| holding.set_state(RecordState::Stopped)) {
            Ok(()) => Ok(holding),
            Err(error) => {
                holding.give_back();
                Err(error)
            }
        }
    }

    /// Takes a session that exists.
    pub(crate) fn take(store: &Store, id: &str) -> Result<Self, Error> {
        let folder = Arc::new(folder::open(store.dir(), id)?);
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

    pub(crate) fn folder(&self) -> &Arc<LockedFolder> {
        &self.folder
    }

    /// Says who is told of what happens to the disk, before it is opened.
    pub(crate) fn tell(&mut self, events: Arc<Events>) {
        self.events = events;
    }

    /// Who is told of what happens.
    pub(crate) fn events(&self) -> &Arc<Events> {
        &self.events
    }

    /// Opens the disks for a guest: fresh ones over the snapshots of a session at rest, those that are there if it was cut
    /// off. A guest that is started again goes on with those that are open.
    pub(crate) fn open_disks(&mut self) -> Result<&Disks, Error> {
        let disks = self.take_disks()?;
        disks.note_bases(&mut self.record);
        self.disks = Some(disks);
        self.set_state(RecordState::Open)?;
        self.lease = None;
        self.disks.as_ref().ok_or_else(no_disk)
    }

    /// Puts the snapshots that the disks of a session that was cut off lie on into its record, which may name others that
    /// are gone.
    pub(crate) fn find_bases(&mut self) -> Result<(), Error> {
        if self.record.state.has_disk() {
            let disks = Disks::open(self.store.inner(), &self.record, &self.events)?;
            disks.note_bases(&mut self.record);
        }
        Ok(())
    }

    fn take_disks(&mut self) -> Result<Disks, Error> {
        match self.disks.take() {
            Some(disks) => Ok(disks),
            None => Disks::open(self.store.inner(), &self.record, &self.events),
        }
    }

    /// Writes the record with a new state, durably. If that fails it is as it was.
    pub(crate) fn set_state(&mut self, state: RecordState) -> Result<(), Error> {
        let now = clock::unix(self.store.clock());
        self.change(|record| record.enter(state, now))
    }

    /// Writes down, durably, that the guest failed, and why.
    pub(crate) fn fail(&mut self, reason: &str) -> Result<(), Error> {
        let now = clock::unix(self.store.clock());
        self.change(|record| {
            record.failure = Some(reason.to_owned());
            record.changed = now;
        })
    }

    /// Changes the record, durably. If that fails it is as it was.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Record)) -> Result<(), Error> {
        let mut changed = self.record.clone();
        change(&mut changed);
        self.folder.write(&changed)?;
        self.record = changed;
        Ok(())
    }

    /// Takes over a record that was written to the folder.
    pub(crate) fn was_written(&mut self, record: Record) {
        self.record = record;
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
        if !found.state.has_disk() {
            disks::remove(self.store.inner(), found)?;
        }
        Ok(())
    }

    /// The root's disk, while it is open.
    pub(crate) fn disk(&self) -> Option<&Arc<RootDisk>> {
        self.disks.as_ref().map(Disks::root)
    }

    /// All disks, unless the host could not change one as the guest had asked for: no snapshot may be made of it unseen.
    pub(crate) fn sound_disks(&self) -> Result<&Disks, Error> {
        let disks = self.disks.as_ref().ok_or_else(no_disk)?;
        disks.check(&self.record.id)?;
        Ok(disks)
    }

    /// Bytes that what was written to the disks takes on the host.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.disks.as_ref().map_or(0, Disks::written_bytes)
    }

    /// Limits what the guest may read and write, for as long as the disks are open.
    pub(crate) fn limit_disks(&self, limits: RateLimits) {
        if let Some(disks) = &self.disks {
            disks.limit(limits);
        }
    }

    /// Makes snapshots of the disks and leaves the session stopped. The VM must be gone. If this fails the disks are
    /// kept, and it may be tried again.
    pub(crate) fn commit(
        &mut self,
        clean: bool,
        progress: &dyn Progress,
    ) -> Result<Snapshot, Error> {
        let disks = self.disks.as_ref().ok_or_else(no_disk)?;
        let mut stopped = self.record.clone();
        let snapshot = disks.commit(self.store.inner(), &mut stopped, clean, progress)?;
        stopped.enter(RecordState::Stopped, clock::unix(self.store.clock()));
        self.folder.write(&stopped)?;
        self.record = stopped;
        self.disks = None;
        if let Err(error) = disks::remove(self.store.inner(), &self.record) {
            tracing::warn!(%error, "could not remove disks that are snapshots now");
        }
        Ok(snapshot)
    }

    /// Makes snapshots of the disks of a session that was cut off, and leaves it stopped; does nothing to one at rest. If
    /// this fails, the session counts as unused since its last change nevertheless.
    pub(crate) fn settle(&mut self, progress: &dyn Progress) -> Result<(), Error> {
        if !self.record.state.has_disk() {
            return Ok(());
        }
        self.change(|record| record.state = RecordState::ShuttingDown)?;
        let disks = self.take_disks()?;
        let clean = disks.root().has_clean_root();
        self.disks = Some(disks);
        self.commit(clean, progress).map(drop)
    }

    /// Throws the session and its disks away. The VM must be gone.
    pub(crate) fn discard(self) -> Result<(), Error> {
        let (store, id) = (self.store.clone(), self.record.id.clone());
        store::remove_locked(store.inner(), &id, &self.into_folder())
    }

    /// Closes the disks, and keeps the session from others.
    pub(crate) fn into_folder(self) -> Arc<LockedFolder> {
        self.folder
    }
}

fn no_disk() -> Error {
    let state = "it has no disk";
    Repr::NotRunning { state }.into()
}

#[cfg(test)]
mod tests;
