//! What must stay: the blobs that can be reached from names, disks and leases.
//!
//! Invariant: a root whose document can't be read is an error, as nobody can tell then what it needs.

mod walk;

use std::collections::HashSet;
use std::time::Duration;

use crate::blobs::Blobs;
use crate::digest::{BlobDigest, SnapshotDigest};
use crate::disk;
use crate::leases::{self, Leased};
use crate::references::Entry;
use crate::store::{Store, StoreError, StoreLock};
pub(crate) use walk::{Link, Visit, walk};

/// Why a blob must stay.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Root {
    /// A snapshot has this name.
    Name(String),
    /// Another tool's entry of `index.json`, with its name if it has one.
    Other(Option<String>),
    /// The disk of this name is made of it and what was written since.
    Disk(String),
    /// An image became it lately, and it has no name yet.
    Import,
    /// Somebody works with it.
    Lease,
}

/// What a root is called in messages.
impl std::fmt::Display for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => write!(f, "name `{name}`"),
            Self::Other(Some(name)) => write!(f, "entry `{name}` of index.json"),
            Self::Other(None) => f.write_str("an entry of index.json"),
            Self::Disk(id) => write!(f, "disk `{id}`"),
            Self::Import => f.write_str("an image that was imported lately"),
            Self::Lease => f.write_str("an operation that is under way"),
        }
    }
}

/// Where following begins.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) root: Root,
    pub(crate) link: Link,
}

/// All roots of a store at one moment.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    pub(crate) starts: Vec<Start>,
    /// Blobs that somebody is about to name.
    pub(crate) blobs: Vec<BlobDigest>,
    /// Snapshots of imports that are old enough to be roots no more.
    pub(crate) old_imports: HashSet<SnapshotDigest>,
}

impl Roots {
    /// All roots while the caller holds the store's lock, so that none comes or goes.
    ///
    /// Snapshots of imports count for as long as their manifests are younger than `grace`.
    ///
    /// # Errors
    /// What reading `index.json`, the leases or the maps of disks gives.
    pub(crate) fn read(
        store: &Store,
        lock: &StoreLock,
        grace: Duration,
    ) -> Result<Self, RootError> {
        let mut roots = Self::default();
        roots.add_leases(store, lock)?;
        for (id, dir) in store.disk_dirs()? {
            let bases = disk::bases(&dir);
            let bases = bases.map_err(|source| RootError::Disk {
                id: id.clone(),
                source: Box::new(source),
            });
            roots.add_disk(&id, bases?);
        }
        roots.add_entries(store, grace)?;
        Ok(roots)
    }

    /// Leases come before disks: one that keeps a new disk's base ends only after the disk is in its place.
    pub(crate) fn add_leases(&mut self, store: &Store, lock: &StoreLock) -> Result<(), StoreError> {
        for line in leases::held(store.blobs().files(), store.dir(), lock)? {
            match line {
                Leased::Blob(digest) => self.blobs.push(digest),
                Leased::Document(digest) => {
                    self.add(Root::Lease, Link::to_snapshot(&digest.into()));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn add_disk(&mut self, id: &str, bases: Vec<SnapshotDigest>) {
        for base in bases {
            self.add(Root::Disk(id.to_owned()), Link::to_snapshot(&base));
        }
    }

    /// Adds what `index.json` names.
    pub(crate) fn add_entries(&mut self, store: &Store, grace: Duration) -> Result<(), StoreError> {
        for entry in store.inner.references.entries()? {
            match entry {
                Entry::Named(named) => {
                    self.add(Root::Name(named.name), Link::to_snapshot(&named.digest));
                }
                Entry::Other(name, link) => self.add(Root::Other(name), link),
                Entry::Imported(digest) if store.blobs().is_young(&digest.into(), grace)? => {
                    self.add(Root::Import, Link::to_snapshot(&digest));
                }
                Entry::Imported(digest) => {
                    self.old_imports.insert(digest);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, root: Root, link: Link) {
        self.starts.push(Start { root, link });
    }

    /// All blobs that must stay.
    ///
    /// # Errors
    /// [`RootError::Document`] for the first root that can't be followed.
    pub(crate) fn follow(&self, blobs: &Blobs) -> Result<HashSet<BlobDigest>, RootError> {
        let mut reached = Reached::default();
        for Start { root, link } in &self.starts {
            reached.may_lack = (*root == Root::Lease).then_some(link.digest);
            walk(blobs, link, &mut reached).map_err(|source| RootError::Document {
                root: root.clone(),
                source: Box::new(source),
            })?;
        }
        reached.blobs.extend(&self.blobs);
        Ok(reached.blobs)
    }
}

/// Why it can't be told what must stay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// A document that a root needs can't be read.
    #[error(
        "can't tell which blobs {root} needs, so none is removed: repair the store, or remove what needs the blob"
    )]
    Document {
        /// What needs the document.
        root: Root,
        /// What is wrong with the document.
        source: Box<StoreError>,
    },
    /// A disk does not say what its base is.
    #[error(
        "can't tell which snapshot disk `{id}` needs, so no blob is removed: remove the disk, or restore its folder"
    )]
    Disk {
        /// The disk.
        id: String,
        /// What is wrong with the disk.
        source: Box<crate::disk::DiskError>,
    },
    /// It can't be made sure that a disk stays as it is.
    #[error("can't make durable what disks are made of, so no blob is removed")]
    Settle {
        /// What the operating system said.
        source: Box<crate::disk::DiskError>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All blobs of a collection that must stay.
#[derive(Default)]
struct Reached {
    blobs: HashSet<BlobDigest>,
    /// A blob that a lease names, which may not have its place yet.
    may_lack: Option<BlobDigest>,
}

impl Visit for Reached {
    fn found(&mut self, link: &Link, _is_document: bool) {
        self.blobs.insert(link.digest);
    }

    fn failed(&mut self, link: &Link, error: StoreError) -> Result<(), StoreError> {
        match error {
            StoreError::NotFound { .. } if self.may_lack == Some(link.digest) => Ok(()),
            error => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
