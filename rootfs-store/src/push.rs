//! From the store to a registry: only blobs that are not there, then the manifest.
//!
//! Invariant: a manifest is sent only after the registry said of each blob that it has it.

mod sending;
mod together;

use std::os::unix::fs::FileExt;

use tracing::field::Empty;

use crate::blobs::{io_error, open_blob};
use crate::digest::{BlobDigest, SnapshotDigest};
use crate::leases::Lease;
use crate::manifest::{Manifest, Pack, parse_manifest};
use crate::places::Mounts;
use crate::progress::Progress;
use crate::registry::{OCI_MANIFEST, RegistryError, RegistryReference};
use crate::remote::FillOptions;
use crate::store::{Store, StoreError};
pub(crate) use sending::Sending;
use together::each;

/// What a push did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pushed {
    /// Blobs that were sent.
    pub sent_blobs: u64,
    /// Bytes of these.
    pub sent_bytes: u64,
    /// Blobs that the registry took over from another of its repositories.
    pub mounted_blobs: u64,
    /// Blobs that were there already.
    pub found_blobs: u64,
}

/// Why a snapshot could not be pushed. The registry may have some more blobs than before, which the next try finds
/// there, but no manifest that lacks one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The reference has another digest than the snapshot.
    #[error("snapshot {snapshot} can't be pushed as {reference}, which names another: name a tag")]
    OtherDigest {
        /// The snapshot.
        snapshot: SnapshotDigest,
        /// Where it should go.
        reference: String,
    },
    /// The registry did not take it.
    #[error("could not push to {reference}")]
    Registry {
        /// Where it should go.
        reference: String,
        /// What went wrong.
        source: RegistryError,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Pushes a snapshot to a registry: the blobs that are missing there, then its manifest by the reference's tag.
    ///
    /// Packs that are elsewhere themselves are fetched first ([`Stage::Fetch`](crate::Stage::Fetch)), unless the
    /// registry has them or can take them from another of its repositories. What it returns says that the registry has
    /// all of the snapshot.
    ///
    /// # Errors
    /// [`PushError`].
    pub fn push(
        &self,
        snapshot: &SnapshotDigest,
        to: &RegistryReference,
        progress: &dyn Progress,
    ) -> Result<Pushed, PushError> {
        if to
            .digest()
            .is_some_and(|digest| SnapshotDigest::from(digest) != *snapshot)
        {
            return Err(PushError::OtherDigest {
                snapshot: *snapshot,
                reference: to.to_string(),
            });
        }
        let span = tracing::info_span!(
            "registry.push",
            reference = %to,
            %snapshot,
            found_blobs = Empty,
            mounted_blobs = Empty,
            sent_blobs = Empty,
            sent_bytes = Empty,
        );
        let _entered = span.enter();
        let lease = self.lease()?;
        self.keep_under(&lease, snapshot)?;
        let bytes = self.blobs().document(&(*snapshot).into())?;
        let bytes = bytes.ok_or_else(|| StoreError::NotFound {
            text: snapshot.to_string(),
        })?;
        let manifest = parse_manifest(&bytes).map_err(|source| StoreError::Manifest {
            digest: *snapshot,
            source,
        })?;
        let push = Push {
            store: self,
            snapshot: *snapshot,
            to,
            lease: &lease,
            sending: Sending::new(
                self.registries().repository(to.host(), to.repository()),
                blobs(&manifest).map(|(_, bytes)| bytes).sum(),
                progress,
            ),
            mounts: self.mounts(to.host(), to.repository()),
            progress,
        };
        let pushed = push.blobs(&manifest)?;
        push.manifest(&bytes)?;
        self.remember_place(to.host(), to.repository(), *snapshot);
        span.record("found_blobs", pushed.found_blobs);
        span.record("mounted_blobs", pushed.mounted_blobs);
        span.record("sent_blobs", pushed.sent_blobs);
        span.record("sent_bytes", pushed.sent_bytes);
        Ok(pushed)
    }
}

/// All blobs that a manifest names, with their sizes.
fn blobs(manifest: &Manifest) -> impl Iterator<Item = (BlobDigest, u64)> {
    let packs = manifest.packs.iter().map(|pack| (pack.digest, pack.bytes));
    let small = [Some(manifest.config), manifest.profile]
        .into_iter()
        .flatten();
    packs.chain(small.map(|blob| (blob.digest, blob.bytes)))
}

struct Push<'a> {
    store: &'a Store,
    snapshot: SnapshotDigest,
    to: &'a RegistryReference,
    lease: &'a Lease,
    sending: Sending<'a>,
    mounts: Mounts,
    progress: &'a dyn Progress,
}

/// How a registry has a blob that was not sent now.
enum Found {
    There,
    Mounted,
}

impl Push<'_> {
    fn blobs(&self, manifest: &Manifest) -> Result<Pushed, PushError> {
        let all = blobs(manifest).collect();
        let looked_up = each(all, |(digest, bytes)| {
            let found = self.find(&digest, bytes)?;
            Ok::<_, PushError>((digest, bytes, found))
        })?;
        let mut pushed = Pushed::default();
        let mut missing = Vec::new();
        for (digest, bytes, found) in looked_up {
            match found {
                Some(Found::There) => pushed.found_blobs += 1,
                Some(Found::Mounted) => pushed.mounted_blobs += 1,
                None => missing.push((digest, bytes)),
            }
        }
        self.fetch(manifest, &missing)?;
        pushed.sent_blobs = missing.len() as u64;
        pushed.sent_bytes = missing.iter().map(|(_, bytes)| bytes).sum();
        each(missing, |(digest, bytes)| self.send(&digest, bytes))?;
        Ok(pushed)
    }

    /// Finds a blob in the registry.
    fn find(&self, digest: &BlobDigest, bytes: u64) -> Result<Option<Found>, PushError> {
        if self.sending.has(digest, bytes).map_err(self.failed())? {
            return Ok(Some(Found::There));
        }
        for from in self.mounts.get(digest).into_iter().flatten() {
            let mounted = self.sending.mount(digest, bytes, from);
            if mounted.map_err(self.failed())? {
                return Ok(Some(Found::Mounted));
            }
        }
        Ok(None)
    }

    /// Fetches those of the missing packs that are elsewhere.
    fn fetch(&self, manifest: &Manifest, missing: &[(BlobDigest, u64)]) -> Result<(), PushError> {
        let is_needed = |pack: &&Pack| {
            let is_missing = missing.iter().any(|(digest, _)| *digest == pack.digest);
            is_missing && !self.store.blobs().has(&pack.digest, pack.bytes)
        };
        let packs: Vec<_> = manifest.packs.iter().filter(is_needed).copied().collect();
        if packs.is_empty() {
            return Ok(());
        }
        let options = FillOptions::default();
        let filled = self
            .store
            .fill_packs(&packs, self.lease, &options, self.progress);
        filled.map(drop).map_err(PushError::Store)
    }

    fn send(&self, digest: &BlobDigest, bytes: u64) -> Result<(), PushError> {
        let path = self.store.blobs().path(digest);
        let (file, _) = open_blob(&path).map_err(io_error("open", &path))?;
        let read_at = |offset, buf: &mut [u8]| file.read_exact_at(buf, offset);
        let uploaded = self.sending.send(digest, bytes, &read_at);
        uploaded.map_err(|error| self.blame(error, digest))
    }

    /// What is really at fault if the registry did not take a blob: maybe the blob.
    fn blame(&self, error: RegistryError, digest: &BlobDigest) -> PushError {
        if error.is_transient() || error.is_ours() {
            return self.failed()(error);
        }
        match self.store.blobs().hash(digest) {
            Ok(actual) if actual != *digest => PushError::Store(StoreError::BlobDamaged {
                digest: *digest,
                path: self.store.blobs().path(digest),
            }),
            Ok(_) | Err(_) => self.failed()(error),
        }
    }

    fn manifest(&self, bytes: &[u8]) -> Result<(), PushError> {
        let reference = self.to.manifest();
        let there = self
            .sending
            .repository
            .has_manifest(&reference)
            .map_err(self.failed())?;
        if there.map(SnapshotDigest::from) == Some(self.snapshot) {
            return Ok(());
        }
        self.sending
            .repository
            .put_manifest(&reference, OCI_MANIFEST, bytes)
            .map_err(self.failed())
    }

    fn failed(&self) -> impl Fn(RegistryError) -> PushError + '_ {
        |source| PushError::Registry {
            reference: self.to.to_string(),
            source,
        }
    }
}
