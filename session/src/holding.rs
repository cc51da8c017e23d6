//! What a session holds of its store while it runs: the lock on its folder, its record and its disk.
//!
//! Invariant: at every moment, a process that dies leaves a session that can be resumed with everything that its
//! guest had flushed, or no session. A record that says `Stopped` names the snapshot that the disk is, so that a disk
//! beside it is a leftover; a record that says anything else has a disk.

use std::sync::Arc;

use rootfs_store::{Lease, Progress};

use crate::clock;
use crate::disk::RootDisk;
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
    // The disk goes before the lock: whoever gets the lock next may open it.
    disk: Option<Arc<RootDisk>>,
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
    pub(crate) fn create(store: &Store, mut record: Record) -> Result<Self, Error> {
        let folder = folder::create(store.dir(), &record.id)?;
        record.created = clock::unix(store.clock());
        let mut holding = Self {
            store: store.clone(),
            disk: None,
            folder,
            record,
            found: None,
            lease: None,
            events: Arc::default(),
        };
        let name = store::reference(&holding.record.id);
        let named = store.inner().set_name(&name, &holding.record.snapshot);
        let held = named.map_err(Error::from);
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
        let folder = folder::open(store.dir(), id)?;
        let record = folder.record()?;
        let found = Some(record.clone());
        Ok(Self {
            store: store.clone(),
            disk: None,
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

    /// Who is told of what happens.
    pub(crate) fn events(&self) -> &Arc<Events> {
        &self.events
    }

    /// Opens the disk: a fresh one over the snapshot of a session at rest, the one that is there if it was cut off.
    pub(crate) fn open_disk(&mut self) -> Result<Arc<RootDisk>, Error> {
        if let Some(disk) = &self.disk {
            // A guest that is started again goes on with it.
            let disk = Arc::clone(disk);
            self.set_state(RecordState::Open)?;
            return Ok(disk);
        }
        let id = &self.record.id;
        let store = self.store.inner();
        let disk = if self.record.state.has_disk() {
            RootDisk::new(store.open_disk(id)?)
        } else {
            store.remove_disk(id)?;
            let disk = RootDisk::new(store.create_disk(id, &self.record.snapshot)?);
            disk.record_start();
            disk
        };
        let elsewhere = store.elsewhere(&disk.writable().base());
        // Whoever can't tell must expect it.
        let is_here = elsewhere.is_ok_and(|packs| packs.is_empty());
        let disk = disk.telling(Arc::clone(&self.events));
        let disk = Arc::new(disk.reaching_out(!is_here));
        self.disk = Some(Arc::clone(&disk));
        self.set_state(RecordState::Open)?;
        self.lease = None;
        Ok(disk)
    }

    /// Writes the record with a new state, durably.
    pub(crate) fn set_state(&mut self, state: RecordState) -> Result<(), Error> {
        self.record.state = state;
        self.record.changed = clock::unix(self.store.clock());
        self.folder.write(&self.record)
    }

    /// Changes the record, durably. If that fails it is as it was.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Record)) -> Result<(), Error> {
        let mut changed = self.record.clone();
        change(&mut changed);
        self.folder.write(&changed)?;
        self.record = changed;
        Ok(())
    }

    /// Leaves the session as it was found, after a start that failed. The VM must be gone.
    pub(crate) fn give_back(mut self) {
        self.disk = None;
        let id = self.record.id.clone();
        let undone = match self.found.take() {
            None => self.discard(),
            Some(found) => self.restore(&found),
        };
        if let Err(error) = undone {
            tracing::warn!(%error, id, "could not undo the start of a session");
        }
    }

    /// The record goes first: a disk beside one at rest is then known to be a leftover.
    fn restore(&self, found: &Record) -> Result<(), Error> {
        self.folder.write(found)?;
        if !found.state.has_disk() {
            self.store.inner().remove_disk(&found.id)?;
        }
        Ok(())
    }

    /// The disk, while it is open.
    pub(crate) fn disk(&self) -> Option<&Arc<RootDisk>> {
        self.disk.as_ref()
    }

    /// The disk, unless the host could not change it as the guest had asked for: no snapshot may be made of it unseen.
    pub(crate) fn sound_disk(&self) -> Result<&Arc<RootDisk>, Error> {
        let disk = self.disk.as_ref().ok_or(Repr::NotRunning {
            state: "it has no disk",
        })?;
        match disk.failure() {
            None => Ok(disk),
            Some(failure) => Err(Repr::DiskFailed {
                id: self.record.id.clone(),
                action: failure.action,
                message: failure.message.clone(),
            }
            .into()),
        }
    }

    /// Makes a snapshot of the disk and leaves the session stopped. The VM must be gone. If this fails the disk is
    /// kept, and it may be tried again.
    pub(crate) fn commit(
        &mut self,
        clean: bool,
        progress: &dyn Progress,
    ) -> Result<Snapshot, Error> {
        let id = &self.record.id;
        let disk = self.sound_disk()?;
        disk.end_recording();
        disk.writable().flush()?;
        let disk_bytes = disk.writable().size();
        let store = self.store.inner();
        let committed = store.commit(disk.writable(), progress)?;
        store.set_name(&store::reference(id), &committed.snapshot)?;
        self.record.snapshot = committed.snapshot;
        self.set_state(RecordState::Stopped)?;
        self.disk = None;
        if let Err(error) = self.store.inner().remove_disk(&self.record.id) {
            tracing::warn!(%error, "could not remove a disk that is a snapshot now");
        }
        Ok(Snapshot::new(&committed, disk_bytes, clean))
    }

    /// Throws the session and its disk away. The VM must be gone.
    pub(crate) fn discard(mut self) -> Result<(), Error> {
        self.disk = None;
        self.folder.remove_record()?;
        store::discard_session(self.store.inner(), &self.record.id)?;
        self.folder.remove()
    }
}

#[cfg(test)]
mod tests;
