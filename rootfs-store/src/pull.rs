//! From a registry to the store: the documents of a snapshot, and its packs now or when they are read.
//!
//! Invariant: a manifest is written only after each of its packs is here or recorded as being elsewhere.

use oci_spec::image::{Descriptor, ImageIndex};
use tracing::field::Empty;

use crate::blobs::Blobs;
use crate::digest::{BlobDigest, SnapshotDigest};
use crate::image::MAX_DOCUMENT_BYTES;
use crate::leases::Lease;
use crate::manifest::{
    ARTIFACT_TYPE, Manifest, ManifestError, NamedBlob, parse_config, parse_manifest,
};
use crate::profile::{BootProfile, MAX_PROFILE_BYTES};
use crate::progress::Progress;
use crate::registry::{Fetched, RegistryError, RegistryReference, Repository, origin_name};
use crate::remote::FillOptions;
use crate::store::{Store, StoreError};

/// How a snapshot is pulled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PullOptions {
    /// Leaves the packs where they are, to be fetched piece by piece when they are read.
    pub lazy: bool,
}

/// What a pull brought.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Pulled {
    /// The snapshot.
    pub snapshot: SnapshotDigest,
    /// Size of its disk in bytes.
    pub disk_bytes: u64,
    /// Bytes of its packs.
    pub packs_bytes: u64,
    /// Bytes of packs that were fetched.
    pub fetched_bytes: u64,
    /// Keeps the snapshot, until it has a name for instance.
    pub lease: Lease,
}

/// Why a snapshot could not be pulled. None is visible; what came of its packs is used by the next try.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The registry did not give it.
    #[error("could not pull {reference}")]
    Registry {
        /// Where it should come from.
        reference: String,
        /// What went wrong.
        source: RegistryError,
    },
    /// What is there is something else.
    #[error("{reference} is no snapshot: {what}")]
    NoSnapshot {
        /// Where it is.
        reference: String,
        /// What it is instead.
        what: String,
    },
    /// A document of it is damaged, or of a newer version.
    #[error("snapshot {reference} can't be used")]
    Manifest {
        /// Where it is.
        reference: String,
        /// What is wrong.
        source: ManifestError,
    },
    /// A document's bytes don't hash to its digest.
    #[error("{reference}: blob {digest} is damaged, its bytes hash to {actual}")]
    Damaged {
        /// Where it is.
        reference: String,
        /// The digest that was expected.
        digest: BlobDigest,
        /// The digest of what came.
        actual: BlobDigest,
    },
    /// A document has more bytes than are read.
    #[error("{reference}: document {digest} has {bytes} bytes, more than {limit}")]
    TooLarge {
        /// Where it is.
        reference: String,
        /// The document.
        digest: BlobDigest,
        /// Its size in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Pulls a snapshot from a registry; it has no name yet, see [`Store::set_name`].
    ///
    /// What is here already is not fetched again. Everything is verified by its digest: documents and whole packs now,
    /// pieces of packs that stay elsewhere when they are read.
    ///
    /// # Errors
    /// [`PullError`]; [`PullError::NoSnapshot`] for an image, which can be imported instead.
    pub fn pull(
        &self,
        from: &RegistryReference,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Pulled, PullError> {
        let span = tracing::info_span!(
            "registry.pull",
            reference = %from,
            lazy = options.lazy,
            snapshot = Empty,
            packs_bytes = Empty,
            fetched_bytes = Empty,
        );
        let _entered = span.enter();
        let pull = Pull {
            store: self,
            from,
            repository: self.registries().repository(from.host(), from.repository()),
        };
        let found = pull.find()?;
        let digest = SnapshotDigest::from(found.digest);
        let unusable = |source| pull.unusable(source);
        let manifest = parse_manifest(&found.bytes).map_err(unusable)?;
        let config = pull.document(&manifest.config, MAX_DOCUMENT_BYTES)?;
        let snapshot = parse_config(&config, digest, manifest.clone()).map_err(unusable)?;
        let lease = self.lease()?;
        let origin = origin_name(from.host(), from.repository());
        self.add_origin(&snapshot.packs, &origin, &lease)?;
        let mut fetched_bytes = 0;
        if !options.lazy {
            let options = FillOptions::default();
            let filled = self.fill_packs(&snapshot.packs, &lease, &options, progress)?;
            fetched_bytes = filled.fetched_bytes;
        }
        pull.write(&found, &manifest, &config, &lease)?;
        self.remember_place(from.host(), from.repository(), digest);
        span.record("snapshot", tracing::field::display(&digest));
        span.record("packs_bytes", snapshot.packs_bytes());
        span.record("fetched_bytes", fetched_bytes);
        Ok(Pulled {
            snapshot: digest,
            disk_bytes: snapshot.disk_bytes,
            packs_bytes: snapshot.packs_bytes(),
            fetched_bytes,
            lease,
        })
    }
}

struct Pull<'a> {
    store: &'a Store,
    from: &'a RegistryReference,
    repository: Repository,
}

impl Pull<'_> {
    /// The manifest: what the reference names, or the only snapshot in the index that it names.
    fn find(&self) -> Result<Fetched, PullError> {
        let fetched = self.manifest(&self.from.manifest())?;
        let Ok(index) = serde_json::from_slice::<ImageIndex>(&fetched.bytes) else {
            return Ok(fetched);
        };
        let is_snapshot = |descriptor: &&Descriptor| {
            let artifact_type = descriptor.artifact_type().as_ref();
            artifact_type.is_some_and(|artifact_type| artifact_type.to_string() == ARTIFACT_TYPE)
        };
        let mut snapshots = index.manifests().iter().filter(is_snapshot);
        match (snapshots.next(), snapshots.next()) {
            (Some(only), None) => self.manifest(only.digest().as_ref()),
            (None, _) => Err(self.no_snapshot("an index without one")),
            (Some(_), Some(_)) => Err(self.no_snapshot("an index of several, name one by digest")),
        }
    }

    fn manifest(&self, reference: &str) -> Result<Fetched, PullError> {
        let manifest = self.repository.manifest(reference);
        manifest.map_err(|source| self.failed(source))
    }

    /// Fetches and verifies a small blob.
    fn document(&self, blob: &NamedBlob, limit: u64) -> Result<Vec<u8>, PullError> {
        if blob.bytes > limit {
            return Err(PullError::TooLarge {
                reference: self.from.to_string(),
                digest: blob.digest,
                bytes: blob.bytes,
                limit,
            });
        }
        if let Ok(Some(bytes)) = self.store.blobs().document(&blob.digest) {
            return Ok(bytes);
        }
        let read = self.repository.blob(&blob.digest, blob.bytes);
        let bytes = read.map_err(|source| self.failed(source))?;
        let actual = BlobDigest::of(&bytes);
        match actual == blob.digest {
            true => Ok(bytes),
            false => Err(PullError::Damaged {
                reference: self.from.to_string(),
                digest: blob.digest,
                actual,
            }),
        }
    }

    /// Writes the documents, durably.
    fn write(
        &self,
        found: &Fetched,
        manifest: &Manifest,
        config: &[u8],
        lease: &Lease,
    ) -> Result<(), PullError> {
        let blobs: &Blobs = self.store.blobs();
        lease.add_snapshot(&found.digest.into())?;
        if let Some(profile) = &manifest.profile {
            let bytes = self.document(profile, MAX_PROFILE_BYTES as u64)?;
            // A hint that can't be used is no reason to refuse the disk.
            if let Err(error) = BootProfile::parse(&bytes) {
                tracing::warn!(digest = %profile.digest, %error, "the boot profile can't be used");
            }
            blobs.put(&bytes, lease)?;
        }
        blobs.put(config, lease)?;
        blobs.sync()?;
        blobs.put(&found.bytes, lease)?;
        blobs.sync()?;
        Ok(())
    }

    fn failed(&self, source: RegistryError) -> PullError {
        PullError::Registry {
            reference: self.from.to_string(),
            source,
        }
    }

    fn no_snapshot(&self, what: &str) -> PullError {
        PullError::NoSnapshot {
            reference: self.from.to_string(),
            what: what.to_owned(),
        }
    }

    fn unusable(&self, source: ManifestError) -> PullError {
        match source {
            ManifestError::NoDisk { artifact_type } => self.no_snapshot(&format!(
                "it has type {artifact_type}; import it if it is an image"
            )),
            source => PullError::Manifest {
                reference: self.from.to_string(),
                source,
            },
        }
    }
}
