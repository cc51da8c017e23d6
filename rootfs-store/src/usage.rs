//! What takes the store's space.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::digest::{BlobDigest, SnapshotDigest};
use crate::disk;
use crate::leases::Leased;
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

impl Store {
    /// Says what takes the store's space.
    ///
    /// # Errors
    /// [`StoreError`] if the store's folder, `index.json` or a disk's folder can't be read. A snapshot that can't be
    /// read counts as far as it can.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let lease = self.lease_to_read();
        let mut usage = Usage::default();
        let mut roots = Roots::default();
        let _lease = {
            let lock = self.inner.references.lock()?;
            roots.add_leases(self, &lock)?;
            for (id, dir) in self.disk_dirs()? {
                roots.add_disk(&id, disk::bases(&dir).unwrap_or_default());
                let overlay_bytes = disk::allocated_bytes(&dir).unwrap_or_default();
                usage.disks.push(DiskUsage { id, overlay_bytes });
            }
            // What an image became is no holder: it counts as long as it has a name.
            roots.add_entries(self, Duration::ZERO)?;
            let documents = roots.starts.iter().map(|start| start.link.digest);
            let lines: Vec<_> = documents.map(Leased::Document).collect();
            lease.filter(|lease| lease.add(&lock, &lines).is_ok())
        };
        let mut holders: BTreeMap<SnapshotDigest, (Link, Vec<Root>)> = BTreeMap::new();
        for start in roots.starts {
            let holder = holders.entry(start.link.digest.into());
            let (_, why) = holder.or_insert((start.link, Vec::new()));
            why.push(start.root);
        }
        self.count(holders, &roots.blobs, &mut usage)?;
        Ok(usage)
    }

    fn count(
        &self,
        holders: BTreeMap<SnapshotDigest, (Link, Vec<Root>)>,
        leased: &[BlobDigest],
        usage: &mut Usage,
    ) -> Result<(), StoreError> {
        let mut sizes: HashMap<_, _> = self
            .blobs()
            .list()?
            .into_iter()
            .map(|blob| (blob.digest, blob.bytes))
            .collect();
        usage.blob_bytes = sizes.values().sum();
        for (pack, bytes) in self.inner.source.remotes.cache_files()? {
            usage.cache_bytes += bytes;
            *sizes.entry(pack).or_default() += bytes;
        }
        let mut users: HashMap<BlobDigest, u32> = HashMap::new();
        let mut needs = BTreeMap::new();
        for (digest, (link, roots)) in holders {
            let mut found = Found::default();
            walk(self.blobs(), &link, &mut found)?;
            for blob in &found.blobs {
                *users.entry(*blob).or_default() += 1;
            }
            needs.insert(digest, (roots, found.blobs));
        }
        for (digest, (roots, blobs)) in needs {
            if roots.iter().any(|root| *root != Root::Lease) {
                let row = self.row(digest, roots, &blobs, &users, &sizes);
                usage.snapshots.push(row);
            }
        }
        usage.snapshots.sort_by(|a, b| a.roots.cmp(&b.roots));
        let used = |digest: &BlobDigest| users.contains_key(digest) || leased.contains(digest);
        let unused = sizes.iter().filter(|(digest, _)| !used(digest));
        usage.unreachable_bytes = unused.map(|(_, bytes)| bytes).sum();
        Ok(())
    }

    fn row(
        &self,
        snapshot: SnapshotDigest,
        mut roots: Vec<Root>,
        blobs: &HashSet<BlobDigest>,
        users: &HashMap<BlobDigest, u32>,
        sizes: &HashMap<BlobDigest, u64>,
    ) -> SnapshotUsage {
        roots.retain(|root| *root != Root::Lease);
        roots.sort();
        roots.dedup();
        let bytes = |alone: bool| {
            let which = blobs
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
