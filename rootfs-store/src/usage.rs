//! What takes the store's space.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::digest::{BlobDigest, SnapshotDigest};
use crate::disk;
use crate::leases::{Lease, Leased};
use crate::live::live_bytes;
use crate::reach::{Link, Root, Roots, Visit, walk};
use crate::store::{Store, StoreError};

/// What takes the store's space.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Usage {
    /// Snapshots and images of other tools that something leads to, sorted by what does.
    pub snapshots: Vec<SnapshotUsage>,
    /// Writable disks, sorted by name.
    pub disks: Vec<DiskUsage>,
    /// Bytes of all blobs.
    pub blob_bytes: u64,
    /// Bytes that were fetched of packs that are elsewhere.
    pub cache_bytes: u64,
    /// Bytes of both that nothing leads to: what a collection frees once they are older than its grace period.
    pub unreachable_bytes: u64,
}

/// What a snapshot takes.
#[derive(Debug)]
#[non_exhaustive]
pub struct SnapshotUsage {
    /// The snapshot, or the manifest or index of another tool's image.
    pub snapshot: SnapshotDigest,
    /// All that leads to it.
    pub roots: Vec<Root>,
    /// Size of the disk in bytes; nothing for what is no snapshot, or can't be read.
    pub disk_bytes: Option<u64>,
    /// Bytes that would be free if all that leads to it were gone.
    pub alone_bytes: u64,
    /// Bytes that it shares with others.
    pub shared_bytes: u64,
    /// Bytes of its packs that are elsewhere and were not fetched.
    pub elsewhere_bytes: u64,
    /// Bytes of its packs that its disk really needs; the rest is what later snapshots replaced. Nothing if some of its
    /// packs are elsewhere, with the index that would tell.
    pub live_bytes: Option<u64>,
}

/// What a writable disk takes besides its base.
#[derive(Debug)]
#[non_exhaustive]
pub struct DiskUsage {
    /// Its name.
    pub id: String,
    /// Bytes that the blocks written to it take on the host.
    pub overlay_bytes: u64,
}

/// Who needs which blobs of a store, at one moment.
#[derive(Debug, Default)]
pub struct Needs {
    disks: Vec<DiskUsage>,
    by_document: BTreeMap<SnapshotDigest, Need>,
    sizes: HashMap<BlobDigest, u64>,
    /// Blobs that somebody is about to name.
    leased: Vec<BlobDigest>,
    blob_bytes: u64,
    cache_bytes: u64,
    /// Keeps the documents while they are looked at.
    _lease: Option<Lease>,
}

/// What a document needs that something leads to.
#[derive(Debug)]
struct Need {
    roots: Vec<Root>,
    blobs: HashSet<BlobDigest>,
}

impl Need {
    fn is_only_leased(&self) -> bool {
        self.roots.iter().all(|root| *root == Root::Lease)
    }

    /// The group that all roots belong to, if they do to one. Who works with it does not count.
    fn group<K: PartialEq>(&self, group: &impl Fn(&Root) -> Option<K>) -> Option<K> {
        let roots = self.roots.iter().filter(|root| **root != Root::Lease);
        let mut groups = roots.map(group);
        let first = groups.next()??;
        groups
            .all(|other| other.as_ref() == Some(&first))
            .then_some(first)
    }
}

impl Needs {
    /// All writable disks, sorted by name.
    #[must_use]
    pub fn disks(&self) -> &[DiskUsage] {
        &self.disks
    }

    /// Bytes of the blobs that are needed by roots of one group alone, however many these are, by group: what would be
    /// free if all roots of the group were gone. Operations that are under way are no holders here.
    pub fn bytes_by<K: Ord + Clone>(&self, group: impl Fn(&Root) -> Option<K>) -> BTreeMap<K, u64> {
        let needs = self
            .by_document
            .values()
            .filter(|need| !need.is_only_leased());
        let needs: Vec<_> = needs.map(|need| (need.group(&group), need)).collect();
        let mut owners: HashMap<BlobDigest, Option<&K>> = HashMap::new();
        for (owner, need) in &needs {
            let owner = owner.as_ref();
            for blob in &need.blobs {
                let known = owners.entry(*blob).or_insert(owner);
                *known = known.filter(|known| Some(*known) == owner);
            }
        }
        let mut bytes = BTreeMap::new();
        for (blob, owner) in owners {
            if let Some(owner) = owner {
                *bytes.entry(owner.clone()).or_default() += self.sizes.get(&blob).unwrap_or(&0);
            }
        }
        bytes
    }

    fn users(&self) -> HashMap<BlobDigest, u32> {
        let mut users = HashMap::new();
        for blob in self.by_document.values().flat_map(|need| &need.blobs) {
            *users.entry(*blob).or_default() += 1;
        }
        users
    }
}

impl Store {
    /// Says who needs which blobs.
    ///
    /// # Errors
    /// [`StoreError`] if the store's folder, `index.json` or a disk's folder can't be read. A snapshot that can't be
    /// read counts as far as it can.
    pub fn needs(&self) -> Result<Needs, StoreError> {
        let lease = self.lease_to_read();
        let mut needs = Needs::default();
        let mut roots = Roots::default();
        needs._lease = {
            let lock = self.inner.references.lock()?;
            roots.add_leases(self, &lock)?;
            for (id, dir) in self.disk_dirs()? {
                roots.add_disk(&id, disk::bases(&dir).unwrap_or_default());
                let overlay_bytes = disk::allocated_bytes(&dir).unwrap_or_default();
                needs.disks.push(DiskUsage { id, overlay_bytes });
            }
            // What an image became is no holder: it counts as long as it has a name.
            roots.add_entries(self, Duration::ZERO)?;
            let documents = roots.starts.iter().map(|start| start.link.digest);
            let lines: Vec<_> = documents.map(Leased::Document).collect();
            lease.filter(|lease| lease.add(&lock, &lines).is_ok())
        };
        needs.leased = roots.blobs;
        let mut starts: BTreeMap<SnapshotDigest, (Link, Vec<Root>)> = BTreeMap::new();
        for start in roots.starts {
            let known = starts.entry(start.link.digest.into());
            let (_, why) = known.or_insert((start.link, Vec::new()));
            why.push(start.root);
        }
        for (digest, (link, roots)) in starts {
            let mut found = Found::default();
            walk(self.blobs(), &link, &mut found)?;
            let blobs = found.blobs;
            needs.by_document.insert(digest, Need { roots, blobs });
        }
        self.measure(&mut needs)?;
        Ok(needs)
    }

    fn measure(&self, needs: &mut Needs) -> Result<(), StoreError> {
        let blobs = self.blobs().list()?.into_iter();
        needs.sizes = blobs.map(|blob| (blob.digest, blob.bytes)).collect();
        needs.blob_bytes = needs.sizes.values().sum();
        for (pack, bytes) in self.inner.source.remotes.cache_files()? {
            needs.cache_bytes += bytes;
            *needs.sizes.entry(pack).or_default() += bytes;
        }
        Ok(())
    }

    /// Says what takes the store's space.
    ///
    /// # Errors
    /// As [`needs`](Self::needs).
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let mut needs = self.needs()?;
        let users = needs.users();
        let rows = needs
            .by_document
            .iter()
            .filter(|(_, need)| !need.is_only_leased());
        let mut snapshots: Vec<_> = rows
            .map(|(digest, need)| self.row(*digest, need, &users, &needs.sizes))
            .collect();
        snapshots.sort_by(|a, b| a.roots.cmp(&b.roots));
        let leased = &needs.leased;
        let used = |digest: &BlobDigest| users.contains_key(digest) || leased.contains(digest);
        let unused = needs.sizes.iter().filter(|(digest, _)| !used(digest));
        Ok(Usage {
            unreachable_bytes: unused.map(|(_, bytes)| bytes).sum(),
            snapshots,
            blob_bytes: needs.blob_bytes,
            cache_bytes: needs.cache_bytes,
            disks: std::mem::take(&mut needs.disks),
        })
    }

    fn row(
        &self,
        snapshot: SnapshotDigest,
        need: &Need,
        users: &HashMap<BlobDigest, u32>,
        sizes: &HashMap<BlobDigest, u64>,
    ) -> SnapshotUsage {
        let mut roots = need.roots.clone();
        roots.retain(|root| *root != Root::Lease);
        roots.sort();
        roots.dedup();
        let bytes = |alone: bool| {
            let which = need
                .blobs
                .iter()
                .filter(|blob| (users.get(blob) == Some(&1)) == alone);
            which.filter_map(|blob| sizes.get(blob)).sum()
        };
        let known = self.snapshot(&snapshot).ok();
        let elsewhere = self.elsewhere(&snapshot).unwrap_or_default();
        let whole = known.as_ref().filter(|_| elsewhere.is_empty());
        let live = whole.and_then(|known| {
            let live = live_bytes(&self.inner.source, &known.index(), &known.packs).ok()?;
            Some(live.values().sum())
        });
        SnapshotUsage {
            snapshot,
            roots,
            disk_bytes: known.map(|known| known.disk_bytes),
            alone_bytes: bytes(true),
            shared_bytes: bytes(false),
            elsewhere_bytes: elsewhere
                .iter()
                .map(|pack| pack.bytes - pack.cached_bytes)
                .sum(),
            live_bytes: live,
        }
    }
}

/// All that a holder needs, as far as it can be read.
#[derive(Default)]
struct Found {
    blobs: HashSet<BlobDigest>,
}

impl Visit for Found {
    fn found(&mut self, link: &Link, _is_document: bool) {
        self.blobs.insert(link.digest);
    }

    fn failed(&mut self, _link: &Link, _error: StoreError) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
