//! Snapshots of disks that go on being written.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use rootfs_store::{Committed, Frozen, PreparedFreeze, Progress, Store};

use super::Disks;
use crate::disk::RootDisk;
use crate::error::Error;
use crate::record::Record;
use crate::snapshot::{DriveSnapshot, Snapshot};
use crate::telemetry;

/// All disks of a session, ready to be frozen at one moment.
pub(crate) struct PreparedDisks<'a>(Vec<(&'a Arc<RootDisk>, PreparedFreeze<'a>)>);

/// What all disks of a session held at one moment, and whether each said that it was clean.
pub(crate) struct FrozenDisks<'a>(Vec<(&'a Arc<RootDisk>, bool, Frozen<'a>)>);

impl Disks {
    /// Makes ready what takes time.
    pub(crate) fn prepare(&self, store: &Store) -> Result<PreparedDisks<'_>, Error> {
        let prepare = |disk| -> Result<_, Error> {
            let disk: &Arc<RootDisk> = disk;
            Ok((disk, store.prepare_freeze(disk.writable())?))
        };
        self.all()
            .map(prepare)
            .collect::<Result<_, _>>()
            .map(PreparedDisks)
    }
}

impl<'a> PreparedDisks<'a> {
    /// Takes what the disks hold at this moment; their writers must hold still meanwhile, if they depend on each other.
    pub(crate) fn freeze(self) -> FrozenDisks<'a> {
        // A file system that is held still says the same of itself as one that was unmounted.
        let freeze = |(disk, prepared): (&'a Arc<RootDisk>, PreparedFreeze<'a>)| {
            (disk, disk.has_clean_root(), prepared.freeze())
        };
        FrozenDisks(self.0.into_iter().map(freeze).collect())
    }
}

impl FrozenDisks<'_> {
    /// Makes snapshots of it. `record` names the drives; `was_quiet` says whether the guest held its file systems still.
    pub(crate) fn seal(
        self,
        store: &Store,
        record: &Record,
        was_quiet: bool,
        progress: &dyn Progress,
    ) -> Result<Snapshot, Error> {
        let (_span, begun) = (telemetry::commit_span(&record.id).entered(), Instant::now());
        let seal = |(disk, is_clean, frozen): (&Arc<RootDisk>, bool, Frozen<'_>)| {
            let committed = store.commit_frozen(frozen, progress)?;
            Ok::<_, Error>((disk.writable().size(), is_clean, committed))
        };
        let mut sealed = Vec::new();
        for one in self.0 {
            sealed.push(seal(one)?);
        }
        let mut sealed = sealed.into_iter();
        let describe = |(bytes, is_clean, root): (u64, bool, Committed)| {
            Snapshot::new(&root, bytes, was_quiet && is_clean)
        };
        let mut snapshot = sealed
            .next()
            .map(describe)
            .ok_or(crate::error::Repr::NotRunning {
                state: "it has no disk",
            })?;
        for (drive, (bytes, is_clean, committed)) in record.drives.iter().zip(sealed) {
            let drive = DriveSnapshot::new(drive.name.clone(), &committed, bytes, is_clean);
            snapshot.drives.push(drive);
        }
        telemetry::committed(begun.elapsed(), snapshot.all_stored_bytes());
        Ok(snapshot)
    }
}

impl fmt::Debug for PreparedDisks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PreparedDisks").field(&self.0.len()).finish()
    }
}

impl fmt::Debug for FrozenDisks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FrozenDisks").field(&self.0.len()).finish()
    }
}
