//! All disks of a session: its root, and its further drives.
//!
//! | | root | drive `NAME` |
//! |---|---|---|
//! | disk in the store | `ID` | `ID@NAME` |
//! | name in the store of the snapshot that it is, or began as | `sessions/ID` | `sessions/ID/NAME` |
//!
//! No id of a session has an `@` or a `/`, so that none of these is another session's.
//!
//! Invariant: disks are made, made snapshots of and removed all together, and each of these calls may be made again
//! if it failed or its process died. What decides which disks a session has is its record alone.

mod live;

use std::sync::Arc;
use std::time::Instant;

use rootfs_store::{Committed, Progress, Root, SnapshotDigest, Store, StoreError};
use vmm_core::RateLimits;

use crate::disk::RootDisk;
use crate::error::{Error, Repr};
use crate::event::{Device, Events};
use crate::record::Record;
use crate::snapshot::{DriveSnapshot, Snapshot};
use crate::store::reference;
use crate::telemetry;

/// The open disks of a session. Clones are the same disks.
#[derive(Debug, Clone)]
pub(crate) struct Disks {
    root: Arc<RootDisk>,
    /// In the order of the record.
    drives: Vec<Arc<RootDisk>>,
}

/// A disk as the store knows it.
struct Place {
    device: Device,
    disk: String,
    reference: String,
    snapshot: SnapshotDigest,
}

impl Place {
    fn root(record: &Record) -> Self {
        Self {
            device: Device::RootDisk,
            disk: record.id.clone(),
            reference: reference(&record.id),
            snapshot: record.snapshot,
        }
    }

    fn drives(record: &Record) -> impl Iterator<Item = Self> {
        let (disks, references) = (drive_prefix(&record.id), reference_prefix(&record.id));
        record.drives.iter().map(move |drive| Self {
            device: Device::Drive {
                name: drive.name.clone(),
            },
            disk: format!("{disks}{}", drive.name),
            reference: format!("{references}{}", drive.name),
            snapshot: drive.snapshot,
        })
    }

    fn all(record: &Record) -> impl Iterator<Item = Self> {
        std::iter::once(Self::root(record)).chain(Self::drives(record))
    }
}

/// What the disks of all drives of a session begin with.
fn drive_prefix(id: &str) -> String {
    format!("{id}@")
}

/// What the names of the snapshots of all drives of a session begin with.
fn reference_prefix(id: &str) -> String {
    format!("{}/", reference(id))
}

/// The id of the session that a disk of the store would be one of.
pub(crate) fn session_of_disk(disk: &str) -> &str {
    disk.split_once('@').map_or(disk, |(id, _)| id)
}

/// The id of the session whose snapshot a name of the store would keep.
fn session_of_name(name: &str) -> Option<&str> {
    let name = name.strip_prefix(&reference(""))?;
    Some(name.split_once('/').map_or(name, |(id, _)| id))
}

/// The id of the session that a root of the store would be one of.
pub(crate) fn session_of(root: &Root) -> Option<&str> {
    match root {
        Root::Name(name) => session_of_name(name),
        Root::Disk(disk) => Some(session_of_disk(disk)),
        _ => None,
    }
}

/// Names the snapshots of a session that is made.
pub(crate) fn name_all(store: &Store, record: &Record) -> Result<(), Error> {
    for place in Place::all(record) {
        store.set_name(&place.reference, &place.snapshot)?;
    }
    Ok(())
}

/// Removes the disks of a session at rest: its snapshots are all that there is to it.
pub(crate) fn remove(store: &Store, record: &Record) -> Result<(), Error> {
    for place in Place::all(record) {
        store.remove_disk(&place.disk)?;
    }
    Ok(())
}

/// Removes whatever a session has in the store, by its id: its record may be gone, or never have been.
pub(crate) fn discard(store: &Store, id: &str) -> Result<(), Error> {
    let (disks, references) = (drive_prefix(id), reference_prefix(id));
    let is_drive = |disk: &String| disk.starts_with(&disks);
    for disk in store.disk_ids()?.into_iter().filter(is_drive) {
        store.remove_disk(&disk)?;
    }
    store.remove_disk(id)?;
    let names = store.names()?.into_iter().map(|named| named.name);
    let is_drive = |name: &String| name.starts_with(&references);
    for name in names.filter(is_drive).chain([reference(id)]) {
        match store.remove_name(&name) {
            Ok(()) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl Disks {
    /// Opens all disks: fresh ones over the snapshots of a session at rest, those that are there if it was cut off.
    pub(crate) fn open(
        store: &Store,
        record: &Record,
        events: &Arc<Events>,
    ) -> Result<Self, Error> {
        let open = |place: Place| -> Result<RootDisk, Error> {
            let disk = if record.state.has_disk() {
                store.open_disk(&place.disk)?
            } else {
                store.remove_disk(&place.disk)?;
                store.create_disk(&place.disk, &place.snapshot)?
            };
            let elsewhere = store.elsewhere(&disk.base());
            // Whoever can't tell must expect it.
            let is_here = elsewhere.is_ok_and(|packs| packs.is_empty());
            let disk = RootDisk::new(disk).telling(place.device, Arc::clone(events));
            Ok(disk.reaching_out(!is_here))
        };
        let root = open(Place::root(record))?;
        if !record.state.has_disk() {
            root.record_start();
        }
        let drives = Place::drives(record).map(|place| Ok(Arc::new(open(place)?)));
        Ok(Self {
            root: Arc::new(root),
            drives: drives.collect::<Result<_, Error>>()?,
        })
    }

    /// Puts the snapshots that the disks lie on into the record. Others than before, if snapshots were made while a guest
    /// ran: those before may be gone.
    pub(crate) fn note_bases(&self, record: &mut Record) {
        record.snapshot = self.root.writable().base();
        for (drive, disk) in record.drives.iter_mut().zip(&self.drives) {
            drive.snapshot = disk.writable().base();
        }
    }

    pub(crate) fn root(&self) -> &Arc<RootDisk> {
        &self.root
    }

    /// The further drives, in the order of the record.
    pub(crate) fn drives(&self) -> &[Arc<RootDisk>] {
        &self.drives
    }

    fn all(&self) -> impl Iterator<Item = &Arc<RootDisk>> {
        std::iter::once(&self.root).chain(&self.drives)
    }

    /// Refuses disks that the host could not change as the guest had asked for.
    pub(crate) fn check(&self, id: &str) -> Result<(), Error> {
        match self.all().find_map(|disk| disk.failure()) {
            None => Ok(()),
            Some(failure) => Err(Repr::DiskFailed {
                id: id.to_owned(),
                action: failure.action,
                message: failure.message.clone(),
            }
            .into()),
        }
    }

    /// Bytes that what was written takes on the host.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.all().map(|disk| disk.written_bytes()).sum()
    }

    /// Limits what the guest may read and write, on each disk.
    pub(crate) fn limit(&self, limits: RateLimits) {
        for disk in self.all() {
            if let Err(error) = disk.limiter().set(limits) {
                tracing::error!(%error, "a session's disk could not be limited");
            }
        }
    }

    /// Makes snapshots of all disks, which nobody writes to any more, names them, and puts them into the record: what
    /// remains is to write that. If this fails, every disk is kept, and it may be tried again.
    pub(crate) fn commit(
        &self,
        store: &Store,
        record: &mut Record,
        clean: bool,
        progress: &dyn Progress,
    ) -> Result<Snapshot, Error> {
        self.check(&record.id)?;
        let (_span, begun) = (telemetry::commit_span(&record.id).entered(), Instant::now());
        self.root.end_recording();
        let commit = |disk: &Arc<RootDisk>| -> Result<Committed, Error> {
            disk.writable().flush()?;
            Ok(store.commit(disk.writable(), progress)?)
        };
        // Their leases keep all of them until all have names.
        let root = commit(&self.root)?;
        let drives: Vec<_> = self.drives.iter().map(commit).collect::<Result<_, _>>()?;
        let committed = std::iter::once(&root).chain(&drives);
        for (place, committed) in Place::all(record).zip(committed) {
            store.set_name(&place.reference, &committed.snapshot)?;
        }
        record.snapshot = root.snapshot;
        let mut snapshot = Snapshot::new(&root, self.root.writable().size(), clean);
        for ((drive, disk), committed) in record.drives.iter_mut().zip(&self.drives).zip(&drives) {
            drive.snapshot = committed.snapshot;
            let (name, disk_bytes) = (drive.name.clone(), disk.writable().size());
            let drive = DriveSnapshot::new(name, committed, disk_bytes, disk.has_clean_root());
            snapshot.drives.push(drive);
        }
        telemetry::committed(begun.elapsed(), snapshot.all_stored_bytes());
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests;
