//! From the store to a registry: only blobs that are not there, then the manifest.
//!
//! Invariant: a manifest is sent only after the registry said of each blob that it has it.

mod sending;

use std::os::unix::fs::FileExt;

use crate::blobs::{io_error, open_blob};
use crate::digest::{BlobDigest, SnapshotDigest};
use crate::leases::Lease;
use crate::manifest::{Manifest, Pack, parse_manifest};
use crate::ordered::ordered_on;
use crate::places::Mounts;
use crate::progress::Progress;
use crate::registry::{OCI_MANIFEST, RegistryError, RegistryReference};
use crate::remote::FillOptions;
use crate::store::{Store, StoreError};
pub(crate) use sending::Sending;

/// Blobs that are looked up and sent at once.
const AT_ONCE: usize = 4;

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
    /// Packs that are elsewhere themselves are fetched first, unless the registry has them or can take them from
    /// another of its repositories. What it returns says that the registry has all of the snapshot.
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
        };
        let pushed = push.blobs(&manifest)?;
        push.manifest(&bytes)?;
        self.remember_place(to.host(), to.repository(), *snapshot);
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
}

/// How the registry came by a blob.
enum Way {
    Found,
    Mounted,
    Sent,
}

impl Push<'_> {
    fn blobs(&self, manifest: &Manifest) -> Result<Pushed, PushError> {
        let mut pushed = Pushed::default();
        let work = |(): &mut (), (digest, bytes)| {
            let way = self.blob(&digest, bytes)?;
            Ok::<_, PushError>((way, bytes))
        };
        ordered_on(
            AT_ONCE,
            blobs(manifest).collect::<Vec<_>>().into_iter(),
            || Ok(()),
            work,
            |(way, bytes)| {
                match way {
                    Way::Found => pushed.found_blobs += 1,
                    Way::Mounted => pushed.mounted_blobs += 1,
                    Way::Sent => {
                        pushed.sent_blobs += 1;
                        pushed.sent_bytes += bytes;
                    }
                }
                Ok(())
            },
        )?;
        Ok(pushed)
    }

    fn blob(&self, digest: &BlobDigest, bytes: u64) -> Result<Way, PushError> {
        if self.sending.has(digest, bytes).map_err(self.failed())? {
            return Ok(Way::Found);
        }
        for from in self.mounts.get(digest).into_iter().flatten() {
            let mounted = self.sending.mount(digest, bytes, from);
            if mounted.map_err(self.failed())? {
                return Ok(Way::Mounted);
            }
        }
        self.send(digest, bytes).map(|()| Way::Sent)
    }

    fn send(&self, digest: &BlobDigest, bytes: u64) -> Result<(), PushError> {
        let path = self.store.blobs().path(digest);
        let file = match open_blob(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let pack = [Pack {
                    digest: *digest,
                    bytes,
                }];
                let options = FillOptions::default();
                self.store.fill_packs(&pack, self.lease, &options, &())?;
                open_blob(&path)
            }
            opened => opened,
        };
        let (file, _) = file.map_err(io_error("open", &path))?;
        let read_at = |offset, buf: &mut [u8]| file.read_exact_at(buf, offset);
        let uploaded = self.sending.send(digest, bytes, &read_at);
        uploaded.map_err(|error| self.blame(error, digest))
    }

    /// What is really at fault if the registry did not take a blob: maybe the blob.
    fn blame(&self, error: RegistryError, digest: &BlobDigest) -> PushError {
        if error.is_transient() {
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
