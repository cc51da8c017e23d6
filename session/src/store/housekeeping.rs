//! Keeping house: giving space back, verifying, repairing, and saying what takes space.

use std::path::Path;
use std::time::Duration;

use rootfs_store::{
    Collected, Compacted, Diff, Imported, RepairSource, Repaired, SnapshotDigest, Usage, Verified,
};

use super::chore::Chore;
use super::{RESERVED, Store, check_name};

impl Store {
    /// Removes what no name, no session and nobody at work needs, and what is older than `grace`. Others may use the
    /// store meanwhile. An image that was imported without a name stays for as long as it is younger than `grace`.
    /// Nothing happens before [`Chore::start`].
    pub fn gc(&self, grace: Duration) -> Chore<Collected> {
        Chore::new("gc", self.inner(), move |store, progress| {
            Ok(store.gc(grace, progress)?)
        })
    }

    /// Writes what is live of sparse packs anew, for all snapshots that only names of images lead to, and moves these
    /// names; a [`gc`](Self::gc) frees the packs then. Snapshots of sessions stay as they are, as a session's record
    /// names its snapshot by digest. Nothing happens before [`Chore::start`].
    pub fn compact(&self) -> Chore<Vec<Compacted>> {
        Chore::new("compact", self.inner(), |store, progress| {
            let may_move = |name: &str| !name.starts_with(RESERVED);
            Ok(store.compact_names(&may_move, progress)?)
        })
    }

    /// Reads and hashes all that names and sessions need. What is wrong is no error, but in [`Verified::faults`].
    /// Nothing happens before [`Chore::start`].
    pub fn verify(&self) -> Chore<Verified> {
        Chore::new("verify", self.inner(), |store, progress| {
            Ok(store.verify(progress)?)
        })
    }

    /// Verifies, and puts back what is damaged or missing if `from` has it whole: another store or OCI image layout, or
    /// the repository of a registry that snapshots were pushed to. What can't be had is no error, but in
    /// [`Repaired::lost`]. Nothing happens before [`Chore::start`].
    pub fn repair(&self, from: impl Into<RepairSource>) -> Chore<Repaired> {
        let from = from.into();
        Chore::new("repair", self.inner(), move |store, progress| {
            Ok(store.repair(&from, progress)?)
        })
    }

    /// Says what takes the store's space. Nothing happens before [`Chore::start`].
    pub fn usage(&self) -> Chore<Usage> {
        Chore::new("usage", self.inner(), |store, _| Ok(store.usage()?))
    }

    /// Makes a snapshot of a raw disk, a file or a block device, and names it if there is a name. Nothing happens
    /// before [`Chore::start`].
    pub fn import_disk(&self, file: impl AsRef<Path>, name: Option<&str>) -> Chore<Imported> {
        let (file, name) = (file.as_ref().to_owned(), name.map(str::to_owned));
        Chore::new("import disk", self.inner(), move |store, progress| {
            name.as_deref().map_or(Ok(()), check_name)?;
            let imported = store.import_disk(&file, progress)?;
            if let Some(name) = &name {
                store.set_name(name, &imported.snapshot)?;
            }
            Ok(imported)
        })
    }

    /// Finds where the disks of two snapshots differ. Nothing happens before [`Chore::start`].
    pub fn diff(
        &self,
        from: impl Into<SnapshotDigest>,
        to: impl Into<SnapshotDigest>,
    ) -> Chore<Diff> {
        let (from, to) = (from.into(), to.into());
        Chore::new("diff", self.inner(), move |store, _| {
            Ok(store.diff(&from, &to)?)
        })
    }
}

#[cfg(test)]
mod tests;
