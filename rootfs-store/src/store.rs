//! The store: a folder that is an OCI image layout, with writable disks beside it.

mod error;
mod lock;
mod options;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::blobs::{Blobs, io_error, sync_dir};
use crate::chunk_source::ChunkSource;
use crate::digest::{BlobDigest, SnapshotDigest};
use crate::files::{Files, Watch, parent};
use crate::image::MAX_DOCUMENT_BYTES;
use crate::leases::Lease;
use crate::manifest::{Snapshot, parse_manifest};
use crate::references::{NamedSnapshot, References, is_name};
use crate::registry::{Registries, RegistryOptions};
use crate::remote::Remotes;
pub use error::StoreError;
pub(crate) use lock::StoreLock;
pub use options::StoreOptions;

/// Fewest digits of a digest that stand for a snapshot.
pub(crate) const MIN_PREFIX_DIGITS: usize = 6;

/// A folder of snapshots and writable disks.
///
/// Clones are the same store and share its caches. Several processes may have the same folder open. Other tools
/// (`skopeo copy`) must not write to the layout meanwhile: they rewrite `index.json` without its lock.
///
/// | path | content |
/// |---|---|
/// | `oci-layout`, `index.json`, `blobs/sha256/` | an OCI image layout: snapshots, and the names of some |
/// | `disks/ID/` | a writable disk |
/// | `downloads/` | layers of images on their way from registries, until these are imported |
/// | `places.json` | hints which repositories have which snapshots and images |
/// | `staging/` | what is being written; left-overs of a crash are removed by a later [`Store::open`] |
/// | `remote/`, `cache/` | where packs are to be had that are not blobs yet, and what was fetched of these |
/// | `leases/` | what processes at work need, see [`Lease`] |
/// | `lock` | held while `index.json` and leases change, and during [`Store::gc`] |
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) registries: Registries,
    pub(crate) source: ChunkSource,
    pub(crate) references: References,
}

impl Store {
    /// Opens the store in `root`; makes an empty one if there is none.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the folder can't be read or written.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(root, StoreOptions::default())
    }

    /// As [`Self::open`], for tests: `watch` is told of every change to the folder beforehand, and may refuse it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_watched(root: impl AsRef<Path>, watch: Arc<dyn Watch>) -> Result<Self, StoreError> {
        let watch = Some(watch);
        Self::open_with(
            root,
            StoreOptions {
                watch,
                ..StoreOptions::default()
            },
        )
    }

    /// As [`Self::open`], with what it should do differently.
    ///
    /// # Errors
    /// As [`Self::open`], and [`StoreError::Registries`] if there is something wrong with the default options for them.
    pub fn open_with(root: impl AsRef<Path>, options: StoreOptions) -> Result<Self, StoreError> {
        let root = root.as_ref();
        let registries = match options.registries {
            Some(registries) => registries,
            None => Registries::new(RegistryOptions::default())
                .map_err(|source| StoreError::Registries { source })?,
        };
        let origin = options
            .origin
            .unwrap_or_else(|| Arc::new(registries.clone()));
        let files = options.watch.map(Files::watched_by).unwrap_or_default();
        create_dirs(&files, root)?;
        let blobs = Blobs::open(root, files.clone())?;
        let patience = options.read_patience;
        let remotes = Remotes::new(files.clone(), root, blobs.staging(), origin, patience);
        let references = References::open(root, blobs.staging(), files)?;
        let inner = Inner {
            root: root.to_owned(),
            registries,
            source: ChunkSource::new(blobs, remotes),
            references,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The store's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.root
    }

    /// The registries that images and snapshots come from and go to.
    #[must_use]
    pub fn registries(&self) -> &Registries {
        &self.inner.registries
    }

    pub(crate) fn blobs(&self) -> &Blobs {
        &self.inner.source.blobs
    }

    /// Describes a snapshot and makes sure that all of its blobs are there, or known to be
    /// [elsewhere](Self::elsewhere).
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such snapshot; others if it is not whole.
    pub fn snapshot(&self, digest: &SnapshotDigest) -> Result<Snapshot, StoreError> {
        Snapshot::read(&self.inner.source, *digest)
    }

    /// Keeps a snapshot whole for as long as the lease is held, whatever [`Store::gc`] is asked for meanwhile.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn keep(&self, digest: &SnapshotDigest) -> Result<Lease, StoreError> {
        let lease = self.lease()?;
        self.keep_under(&lease, digest)?;
        Ok(lease)
    }

    /// Adds a snapshot to a lease, then makes sure that it is whole.
    pub(crate) fn keep_under(
        &self,
        lease: &Lease,
        digest: &SnapshotDigest,
    ) -> Result<Snapshot, StoreError> {
        lease.add_snapshot(digest)?;
        self.snapshot(digest)
    }

    /// A snapshot for a caller that only reads it, and a lease if one can be had: on a disk that is full or failing,
    /// what is there can still be read. It then may be collected meanwhile, which is an error of the read.
    pub(crate) fn to_read(
        &self,
        digest: &SnapshotDigest,
    ) -> Result<(Option<Lease>, Snapshot), StoreError> {
        let lease = self.lease_to_read();
        let kept = lease.filter(|lease| lease.add_snapshot(digest).is_ok());
        Ok((kept, self.snapshot(digest)?))
    }

    /// A lease on nothing yet, if one can be had.
    pub(crate) fn lease_to_read(&self) -> Option<Lease> {
        let lease = self.lease();
        let lease = lease.inspect_err(|error| tracing::warn!(%error, "reads without a lease"));
        lease.ok()
    }

    /// A lease on nothing yet.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn lease(&self) -> Result<Lease, StoreError> {
        Lease::new(self.blobs().files(), self.dir())
    }

    /// The snapshot that `text` means: a name, a digest, or the first digits (6 at least) of a single one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::AmbiguousPrefix`].
    pub fn resolve(&self, text: &str) -> Result<SnapshotDigest, StoreError> {
        let not_found = || StoreError::NotFound {
            text: text.to_owned(),
        };
        // A digest means itself, whatever names there are.
        if let Ok(digest) = text.parse::<SnapshotDigest>() {
            return Ok(self.snapshot(&digest)?.digest);
        }
        if let Some(named) = self.names()?.into_iter().find(|named| named.name == text) {
            return Ok(named.digest);
        }
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if digits.len() < MIN_PREFIX_DIGITS || !digits.bytes().all(hex) {
            return Err(not_found());
        }
        let mut found = self.snapshots_with_prefix(digits)?.into_iter();
        match (found.next(), found.next()) {
            (Some(digest), None) => Ok(digest),
            (None, _) => Err(not_found()),
            (Some(_), Some(_)) => Err(StoreError::AmbiguousPrefix {
                text: text.to_owned(),
            }),
        }
    }

    fn snapshots_with_prefix(&self, digits: &str) -> Result<Vec<SnapshotDigest>, StoreError> {
        let dir = self.blobs().dir();
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).map_err(io_error("list", dir))? {
            let entry = entry.map_err(io_error("list", dir))?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| name.starts_with(digits)) else {
                continue;
            };
            let small = entry
                .metadata()
                .is_ok_and(|metadata| metadata.len() <= MAX_DOCUMENT_BYTES);
            let Ok(digest) = format!("sha256:{name}").parse::<BlobDigest>() else {
                continue;
            };
            if small
                && self
                    .blobs()
                    .document(&digest)?
                    .is_some_and(|bytes| parse_manifest(&bytes).is_ok())
            {
                found.push(digest.into());
            }
        }
        Ok(found)
    }

    /// All snapshots that have names, sorted by name.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::Index`].
    pub fn names(&self) -> Result<Vec<NamedSnapshot>, StoreError> {
        self.inner.references.names()
    }

    /// Checks that a snapshot may be called `name`.
    ///
    /// # Errors
    /// [`StoreError::BadName`].
    pub fn check_name(name: &str) -> Result<(), StoreError> {
        match is_name(name) {
            true => Ok(()),
            false => Err(StoreError::BadName {
                name: name.to_owned(),
            }),
        }
    }

    /// Names a snapshot, durably; another one may have had the name before.
    ///
    /// # Errors
    /// [`StoreError::BadName`], or [`StoreError::NotFound`] if there is no such snapshot.
    pub fn set_name(&self, name: &str, digest: &SnapshotDigest) -> Result<(), StoreError> {
        Self::check_name(name)?;
        let _lease = self.keep(digest)?;
        let manifest_bytes = self.manifest_bytes(digest)?;
        self.inner
            .references
            .set_name(name, *digest, manifest_bytes)
    }

    /// Takes a name away, durably; the snapshot stays until [`Store::gc`] finds that nothing else needs it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such name.
    pub fn remove_name(&self, name: &str) -> Result<(), StoreError> {
        match self.inner.references.remove_name(name)? {
            true => Ok(()),
            false => Err(StoreError::NotFound {
                text: name.to_owned(),
            }),
        }
    }

    pub(crate) fn manifest_bytes(&self, digest: &SnapshotDigest) -> Result<u64, StoreError> {
        let path = self.blobs().path(&BlobDigest::from(*digest));
        let metadata = path.metadata().map_err(io_error("inspect", &path))?;
        Ok(metadata.len())
    }
}

/// Makes a folder and those that it is in, durably.
fn create_dirs(files: &Files, dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = parent(dir);
    create_dirs(files, &parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(io_error("create", dir)(error))
        }
        // A new folder is only certain once the one that it is in was synced.
        _ => sync_dir(files, &parent),
    }
}

#[cfg(test)]
mod tests;
