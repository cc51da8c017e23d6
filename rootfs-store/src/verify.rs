//! Checks a whole store: every blob that is needed is read and hashed, and every index followed to each chunk.
//!
//! Invariant: what is wrong in one place does not keep others from being looked at.

mod contents;
mod documents;
mod fault;
mod indexes;
mod lengths;
mod remotes;
mod report;
mod tables;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::digest::{BlobDigest, SnapshotDigest};
use crate::disk;
use crate::leases::{Lease, Leased};
use crate::manifest::{ManifestError, PACK_TYPE, Snapshot, parse_config, parse_manifest};
use crate::progress::Progress;
use crate::reach::{Link, Root, Roots, walk};
use crate::store::{Store, StoreError};
use contents::{Content, Wanted, read_all};
use documents::{Documents, document_problem};
pub use fault::{Affected, Fault, Problem, Verified};
pub(crate) use indexes::add_range;

impl Store {
    /// Reads and verifies all that names, disks and leases lead to.
    ///
    /// Others may use the store meanwhile; what they add after this began is not looked at. Of packs that are
    /// elsewhere, what was fetched is verified; nothing is fetched.
    ///
    /// # Errors
    /// [`StoreError`] if the store's folder can't be worked with at all, or [`StoreError::TooManyFiles`]. What is wrong
    /// with its content is a [`Fault`], and never keeps the rest from being verified.
    pub fn verify(&self, progress: &dyn Progress) -> Result<Verified, StoreError> {
        let mut check = Check::new(self);
        let _lease = check.find_roots()?;
        check.read_documents();
        check.has_files()?;
        let contents = check.read_blobs(progress)?;
        check.follow_indexes(contents)?;
        check.count_unreachable()?;
        check.has_files()?;
        Ok(check.verified)
    }
}

/// What is known of a blob that is needed.
#[derive(Debug, Default)]
struct Need {
    /// Its sizes by the documents that name it, with the roots of these: one, unless some lie.
    sizes: BTreeMap<u64, BTreeSet<SnapshotDigest>>,
    is_pack: bool,
    /// It was read when documents were followed.
    is_document: bool,
    /// The roots' own digests.
    users: BTreeSet<SnapshotDigest>,
}

struct Check<'a> {
    store: &'a Store,
    verified: Verified,
    roots: BTreeMap<SnapshotDigest, (Link, Vec<Root>)>,
    needs: BTreeMap<BlobDigest, Need>,
    snapshots: Vec<Snapshot>,
    /// Packs that are no blobs, but known to be elsewhere.
    remotes: HashSet<BlobDigest>,
    /// The first file that could not be opened because too many are.
    starved_at: Option<PathBuf>,
}

impl<'a> Check<'a> {
    fn new(store: &'a Store) -> Self {
        Self {
            store,
            verified: Verified::default(),
            roots: BTreeMap::new(),
            needs: BTreeMap::new(),
            snapshots: Vec::new(),
            remotes: HashSet::new(),
            starved_at: None,
        }
    }

    /// That too many files are open is no fault of what could not be opened.
    fn has_files(&mut self) -> Result<(), StoreError> {
        match self.starved_at.take() {
            Some(path) => Err(StoreError::TooManyFiles { path }),
            None => Ok(()),
        }
    }

    /// Finds all roots, and keeps what they need until the lease is dropped, if it can be had.
    fn find_roots(&mut self) -> Result<Option<Lease>, StoreError> {
        let store = self.store;
        let lease = store.lease_to_read();
        let lock = store.inner.references.lock()?;
        let mut roots = Roots::default();
        roots.add_leases(store, &lock)?;
        let (dirs, others) = store.disk_entries()?;
        for path in others {
            let source = StoreError::NoDisk { path: path.clone() };
            self.fault(path, None, Problem::Document { source }, Vec::new());
        }
        for (id, dir) in dirs {
            self.verified.disks += 1;
            for (file, source) in disk::check(&dir) {
                self.fault(file, None, Problem::Disk { source }, Vec::new());
            }
            // What can't be read of it was said just now.
            roots.add_disk(&id, disk::bases(&dir).unwrap_or_default());
        }
        if let Err(source) = roots.add_entries(store, Duration::MAX) {
            let file = store.dir().join("index.json");
            self.fault(file, None, Problem::Document { source }, Vec::new());
        }
        let documents = roots.starts.iter().map(|start| start.link.digest);
        let lines: Vec<_> = documents.map(Leased::Document).collect();
        let lease = lease.filter(|lease| lease.add(&lock, &lines).is_ok());
        // Of an import without a name, a collection that was cut off may have left a part.
        roots
            .starts
            .retain(|start| start.root != Root::Import || !self.is_partial(&start.link));
        for start in roots.starts {
            let known = self.roots.entry(start.link.digest.into());
            let (_, why) = known.or_insert((start.link, Vec::new()));
            why.push(start.root);
        }
        for (_, why) in self.roots.values_mut() {
            why.sort();
        }
        Ok(lease)
    }

    fn is_partial(&self, link: &Link) -> bool {
        matches!(
            self.store.snapshot(&link.digest.into()),
            Err(StoreError::NotFound { .. } | StoreError::BlobMissing { .. })
        )
    }

    /// Reads the documents of all roots, which say what else they need.
    fn read_documents(&mut self) {
        let mut unreadable = BTreeMap::new();
        for (digest, (link, why)) in self.roots.clone() {
            let mut visit = Documents {
                found: Vec::new(),
                failed: Vec::new(),
                may_lack: why == [Root::Lease],
            };
            // It takes failures as they come.
            if walk(self.store.blobs(), &link, &mut visit).is_err() {
                continue;
            }
            let Documents { found, failed, .. } = visit;
            for (link, is_document) in found {
                let need = self.needs.entry(link.digest).or_default();
                if let Some(size) = link.size {
                    need.sizes.entry(size).or_default().insert(digest);
                }
                need.is_pack |= link.media_type == PACK_TYPE;
                need.is_document |= is_document;
                need.users.insert(digest);
            }
            for (link, error) in failed {
                unreadable.entry(link.digest).or_insert(error);
            }
            if !unreadable.contains_key(&digest.into()) {
                let is_other = |root: &Root| matches!(root, Root::Other(_) | Root::Lease);
                self.read_snapshot(digest, why.iter().all(is_other));
            }
        }
        // Now it is known what each of them hits.
        for (digest, error) in unreadable {
            self.blob_fault(digest, document_problem(self.store, error));
        }
    }

    /// Reads the config of a root that is a snapshot, or that may be an image of another tool.
    fn read_snapshot(&mut self, digest: SnapshotDigest, may_be_other: bool) {
        let blobs = self.store.blobs();
        let manifest = match blobs.document(&digest.into()) {
            Ok(Some(manifest)) => manifest,
            // The walk found that.
            Ok(None) => return,
            Err(error) => return self.note_starved(&error, &digest.into()),
        };
        let named = match parse_manifest(&manifest) {
            Ok(parsed) => parsed,
            Err(ManifestError::NoDisk { .. }) if may_be_other => return,
            Err(source) => return self.blob_fault(digest.into(), Problem::Manifest { source }),
        };
        let config = named.config.digest;
        let bytes = match blobs.document(&config) {
            Ok(Some(bytes)) => bytes,
            // It is a fault when all blobs are read.
            Ok(None) => return,
            Err(error) => return self.note_starved(&error, &config),
        };
        match parse_config(&bytes, digest, named) {
            Ok(snapshot) => self.snapshots.push(snapshot),
            Err(source) => self.blob_fault(config, Problem::Manifest { source }),
        }
    }

    /// Reads all blobs that are not documents.
    fn read_blobs(
        &mut self,
        progress: &dyn Progress,
    ) -> Result<BTreeMap<BlobDigest, Content>, StoreError> {
        let mut wanted = Vec::new();
        let mut missing = Vec::new();
        for (digest, need) in &self.needs {
            let (digest, is_pack) = (*digest, need.is_pack);
            let bytes = match self.store.blobs().path(&digest).metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    missing.extend((!need.is_document).then_some(digest));
                    continue;
                }
                metadata => metadata.map_or(0, |metadata| metadata.len()),
            };
            self.verified.bytes += bytes;
            self.verified.blobs += 1;
            if !need.is_document {
                wanted.push(Wanted {
                    digest,
                    bytes,
                    is_pack,
                });
            }
        }
        for digest in missing {
            self.look_elsewhere(digest);
        }
        let contents = read_all(self.store, &wanted, progress)?;
        let digests = wanted.iter().map(|wanted| wanted.digest);
        Ok(digests.zip(contents).collect())
    }

    /// Follows the indexes, then says what is wrong with each blob, and which bytes of which disks that costs.
    fn follow_indexes(
        &mut self,
        contents: BTreeMap<BlobDigest, Content>,
    ) -> Result<(), StoreError> {
        let packs: HashMap<BlobDigest, &Content> = contents
            .iter()
            .filter(|(_, content)| content.unreadable.is_none())
            .map(|(digest, content)| (*digest, content))
            .collect();
        let mut lost: BTreeMap<BlobDigest, Vec<Affected>> = BTreeMap::new();
        for snapshot in std::mem::take(&mut self.snapshots) {
            self.verified.snapshots += 1;
            let source = &self.store.inner.source;
            let followed = indexes::follow(source, &snapshot, &packs, &self.remotes)?;
            let more = followed.more_ranges;
            self.verified.more_faults |= followed.more_wrong;
            for (pack, ranges) in followed.lost {
                let affected = self.affected(snapshot.digest, ranges, more);
                lost.entry(pack).or_default().push(affected);
            }
            for (pack, (problem, ranges)) in followed.wrong {
                let affected = self.affected(snapshot.digest, ranges, more);
                let file = self.store.blobs().path(&pack);
                self.fault(file, Some(pack), problem, vec![affected]);
            }
        }
        for (digest, content) in contents {
            self.report_content(digest, content);
        }
        for fault in &mut self.verified.faults {
            let hits = fault.digest.and_then(|digest| lost.get(&digest));
            for hit in hits.into_iter().flatten() {
                let mut affected = fault.affected.iter_mut();
                if let Some(affected) = affected.find(|found| found.snapshot == hit.snapshot) {
                    affected.ranges.clone_from(&hit.ranges);
                    affected.more = hit.more;
                }
            }
        }
        Ok(())
    }

    fn count_unreachable(&mut self) -> Result<(), StoreError> {
        for blob in self.store.blobs().list()? {
            if !self.needs.contains_key(&blob.digest) {
                self.verified.unreachable_blobs += 1;
                self.verified.unreachable_bytes += blob.bytes;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
