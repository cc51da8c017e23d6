//! What sessions take.

use std::collections::{BTreeMap, BTreeSet};

use rootfs_store::Needs;

use super::{Chore, SessionInfo, Store};
use crate::disks;
use crate::error::Error;

/// What a session takes on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStorage {
    /// Its id.
    pub id: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Bytes of what its guest has written since its last snapshot.
    pub disk_bytes: u64,
    /// Bytes of its snapshots that no other session and no name needs: what its removal frees.
    pub snapshot_bytes: u64,
}

impl SessionStorage {
    /// Both together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.disk_bytes.saturating_add(self.snapshot_bytes)
    }
}

/// What takes a store's space at one moment, by its sessions.
#[derive(Debug)]
pub(crate) struct Storage {
    sessions: Vec<SessionInfo>,
    needs: Needs,
}

impl Storage {
    pub(crate) fn look(store: &Store) -> Result<Self, Error> {
        // First: what a session has that comes later counts as nobody's then, and not as another's.
        let needs = store.inner().needs()?;
        let sessions = store.sessions()?.into_iter().flatten().collect();
        Ok(Self { sessions, needs })
    }

    /// Bytes that sessions take which have a value of a label, with what they share among themselves.
    pub(crate) fn bytes_of_label(&self, key: &str, value: &str) -> u64 {
        let with_it = self.sessions.iter().filter(|session| {
            let found = session.about.labels.get(key);
            found.is_some_and(|found| found == value)
        });
        let ids: BTreeSet<&str> = with_it.map(|session| session.id.as_str()).collect();
        let snapshots = self.needs.bytes_by(|root| {
            let is_one = disks::session_of(root).is_some_and(|id| ids.contains(id));
            is_one.then_some(())
        });
        let snapshots: u64 = snapshots.into_values().sum();
        let disks = self.disks().filter(|(id, _)| ids.contains(id));
        snapshots.saturating_add(disks.map(|(_, bytes)| bytes).sum())
    }

    fn each(self) -> Vec<SessionStorage> {
        let snapshots = self
            .needs
            .bytes_by(|root| disks::session_of(root).map(str::to_owned));
        let mut disks = BTreeMap::<_, u64>::new();
        for (id, bytes) in self.disks() {
            *disks.entry(id.to_owned()).or_default() += bytes;
        }
        let sessions = self.sessions.into_iter().map(|session| SessionStorage {
            disk_bytes: disks.get(&session.id).copied().unwrap_or_default(),
            snapshot_bytes: snapshots.get(&session.id).copied().unwrap_or_default(),
            labels: session.about.labels,
            id: session.id,
        });
        sessions.collect()
    }

    /// The sessions that disks would belong to, with what these take.
    fn disks(&self) -> impl Iterator<Item = (&str, u64)> {
        let disks = self.needs.disks().iter();
        disks.map(|disk| (disks::session_of_disk(&disk.id), disk.overlay_bytes))
    }
}

impl Store {
    /// Says what each session takes. Nothing happens before [`Chore::start`].
    pub fn storage(&self) -> Chore<Vec<SessionStorage>> {
        let store = self.clone();
        Chore::new("storage", self.inner(), move |_, _| {
            Storage::look(&store).map(Storage::each)
        })
    }

    /// Says how many bytes the sessions take together that have this value of a label: what removing all of them frees. That
    /// is more than the sum of what each takes, if they share something. Nothing happens before [`Chore::start`].
    pub fn storage_of_label(&self, key: impl Into<String>, value: impl Into<String>) -> Chore<u64> {
        let (store, key, value) = (self.clone(), key.into(), value.into());
        Chore::new("storage", self.inner(), move |_, _| {
            Ok(Storage::look(&store)?.bytes_of_label(&key, &value))
        })
    }
}

#[cfg(test)]
mod tests;
