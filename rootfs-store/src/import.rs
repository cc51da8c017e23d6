//! From a container image to a snapshot.

mod ahead;
mod error;
mod sealing;
mod steps;

use crate::chunk::{DEFAULT_CHUNK_BYTES, MAX_CHUNK_BYTES, MIN_CHUNK_BYTES};
use crate::digest::{BlobDigest, SnapshotDigest};
use crate::image::{self, Image, Platform, Scratch, open_in_registry, while_downloading};
use crate::index::Locator;
use crate::leases::Lease;
use crate::manifest::{MAX_DISK_BYTES, NewSnapshot};
use crate::ordered::ordered;
use crate::progress::Progress;
use crate::reference::ImageReference;
use crate::seal::{Known, Used};
use crate::store::{Store, StoreError};
use crate::tree::{Limits, TreeError};
pub use error::ImportError;
use sealing::Sealing;

/// Size of a disk whose size nobody asked for, in bytes, unless its image needs more.
const DEFAULT_DISK_BYTES: u64 = 8 << 30;
/// A disk whose size nobody asked for is at least this many times as large as what it must hold.
const DEFAULT_ROOM: u64 = 2;
/// Disk sizes are rounded up to a multiple of this, the largest chunk.
const DISK_GRAIN: u64 = crate::chunk::MAX_CHUNK_BYTES as u64;
/// Changes when the same image would become another disk: imports of older versions are then not taken for new ones.
const LAYOUT_VERSION: u32 = 3;

/// What an import takes besides the image.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The machine that the image must be for; `linux/amd64` by default.
    pub platform: Platform,
    /// Size of the disk in bytes, rounded up to a multiple of 1 MiB; by default 8 GiB, or twice what the image needs
    /// if that is more. Space that holds nothing takes none.
    pub disk_bytes: Option<u64>,
    /// Size of the disk's chunks in bytes: a power of two from 16 KiB to 1 MiB; [`DEFAULT_CHUNK_BYTES`] by default.
    pub chunk_bytes: u32,
    /// A snapshot whose chunks are not stored again, an earlier version of the image for instance. The new snapshot
    /// then follows from this one too, and its manifest names packs of both. The packs that it names of the parent are
    /// read and hashed.
    pub parent: Option<SnapshotDigest>,
    /// Reads the image and writes its packs even if it was imported before, which puts back what was damaged of them
    /// since. The snapshot is the same.
    pub again: bool,
    /// What the image may cost.
    pub limits: Limits,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            platform: Platform::default(),
            disk_bytes: None,
            chunk_bytes: DEFAULT_CHUNK_BYTES,
            parent: None,
            again: false,
            limits: Limits::default(),
        }
    }
}

/// What an import made.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The image as a disk.
    pub snapshot: SnapshotDigest,
    /// Size of the disk in bytes.
    pub disk_bytes: u64,
    /// Chunks in packs that the store did not have.
    pub new_chunks: u64,
    /// Plain bytes of these.
    pub new_bytes: u64,
    /// Bytes that the store grew by.
    pub stored_bytes: u64,
    /// Keeps the snapshot, until it has a name for instance.
    pub lease: Lease,
}

impl Store {
    /// Makes a disk of an image. The same image, with the same options, gives the same snapshot in every store.
    ///
    /// Images that begin with the same layers share the packs of these, if the layers are large enough.
    ///
    /// An image that was imported before, with the same options, is found and not imported again, unless
    /// [`ImportOptions::again`] says so. What it returns is durable, but has no name yet: see [`Store::set_name`].
    /// [`Imported::lease`] keeps it until then; without either, [`Store::gc`] takes it for unused once it is older than
    /// the grace period.
    ///
    /// # Errors
    /// [`ImportError`]; nothing is left behind but, after a crash, what the next [`Store::open`] removes, and where the
    /// last small writes failed, packs that no snapshot names, which [`Store::gc`] removes.
    pub fn import(
        &self,
        reference: &ImageReference,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Imported, ImportError> {
        let size = options.disk_bytes.map(checked_size).transpose()?;
        let chunk_bytes = options.chunk_bytes;
        if !chunk_bytes.is_power_of_two()
            || !(MIN_CHUNK_BYTES..=MAX_CHUNK_BYTES).contains(&chunk_bytes)
        {
            return Err(ImportError::ChunkSize { chunk_bytes });
        }
        let image_error = |source| ImportError::Image {
            reference: reference.to_string(),
            source,
        };
        let scratch = Scratch {
            dir: self.blobs().staging(),
            limit_bytes: options.limits.unpacked_bytes,
            progress,
        };
        let image = match reference {
            ImageReference::Docker { reference } => open_in_registry(
                self.registries(),
                reference,
                &options.platform,
                self.blobs(),
                self.dir(),
            ),
            reference => image::open(reference, &options.platform, &scratch),
        };
        let image = image.map_err(image_error)?;
        if let ImageReference::Docker { reference } = reference {
            let (host, repository) = (reference.host(), reference.repository());
            self.remember_image(host, repository, &image.manifest_digest);
            let limit = options.limits.unpacked_bytes;
            if image.layers_bytes > limit {
                return Err(ImportError::Tree {
                    reference: reference.to_string(),
                    source: TreeError::TooManyBytes {
                        layer: image.manifest_digest,
                        limit,
                    },
                });
            }
        }
        let key = import_key(&image, size, options);
        let lease = self.lease()?;
        if !options.again
            && let Some(snapshot) = self.inner.references.imported(&key)?
            && let Ok(found) = self.keep_under(&lease, &snapshot)
            && found.image.as_ref() == Some(&image.manifest_digest)
            && size.is_none_or(|size| size == found.disk_bytes)
        {
            self.blobs().touch(&snapshot.into());
            let disk_bytes = found.disk_bytes;
            return Ok(Imported {
                snapshot,
                disk_bytes,
                new_chunks: 0,
                new_bytes: 0,
                stored_bytes: 0,
                lease,
            });
        }
        let imported = self.import_new(reference, image, size, options, &lease, progress)?;
        let manifest_bytes = self.manifest_bytes(&imported.snapshot)?;
        self.inner
            .references
            .set_imported(&key, imported.snapshot, manifest_bytes)?;
        Ok(imported)
    }

    fn import_new(
        &self,
        reference: &ImageReference,
        image: Image,
        size: Option<u64>,
        options: &ImportOptions,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<Imported, ImportError> {
        let (mut known, theirs) = match &options.parent {
            Some(parent) => self.chunks_of(parent, options.chunk_bytes, lease)?,
            None => (Known::default(), Vec::new()),
        };
        let sealing = Sealing {
            store: self,
            size,
            chunk_bytes: options.chunk_bytes,
            progress,
        };
        let sealed = while_downloading(&image.layers, self.dir(), self.blobs(), || {
            sealing.seal_image(&image, &options.limits, &mut known)
        });
        let sealed =
            sealed
                .map_err(|fault| fault.of_image(reference))
                .and_then(|(disk_bytes, sealed)| {
                    self.check_packs(&theirs, &known, &sealed.used)?;
                    Ok((disk_bytes, sealed))
                });
        let (disk_bytes, sealed) =
            sealed.map_err(|error| of_parent(error, options.parent, &theirs))?;
        let stored = known.publish(sealed, lease, options.chunk_bytes)?;
        // Files of damaged packs may be open, which others have replaced now.
        for pack in &stored.packs {
            self.inner.source.forget_pack(&pack.digest);
        }
        let snapshot = NewSnapshot {
            disk_bytes,
            chunk_bytes: options.chunk_bytes,
            image: Some(image.manifest_digest),
            parent: options.parent,
            machine: image.config,
            packs: stored.packs,
            profile: None,
            root: stored.root,
        };
        let (snapshot, grown) = snapshot.write(self.blobs(), lease)?;
        Ok(Imported {
            snapshot,
            disk_bytes,
            new_chunks: stored.new_chunks,
            new_bytes: stored.new_bytes,
            stored_bytes: stored.stored_bytes + grown,
            lease: lease.clone(),
        })
    }

    /// The chunks of a parent, and its packs.
    fn chunks_of(
        &self,
        parent: &SnapshotDigest,
        chunk_bytes: u32,
        lease: &Lease,
    ) -> Result<(Known<'_>, Vec<BlobDigest>), ImportError> {
        let snapshot = self.keep_under(lease, parent)?;
        if snapshot.chunk_bytes != chunk_bytes {
            return Err(ImportError::ParentChunkSize {
                parent: *parent,
                found: snapshot.chunk_bytes,
                chunk_bytes,
            });
        }
        let known = Known::of(&snapshot, &self.inner.source)?;
        let packs = snapshot.packs.iter().map(|pack| pack.digest);
        Ok((known, packs.collect()))
    }

    /// Hashes what is used of a parent's packs, and the packs: its chunks were taken for what its index says they are.
    fn check_packs(
        &self,
        theirs: &[BlobDigest],
        known: &Known<'_>,
        used: &Used,
    ) -> Result<(), StoreError> {
        let packs = known.packs_of(used);
        let packs = packs.iter().map(|pack| pack.digest);
        let packs: Vec<_> = packs.filter(|pack| theirs.contains(pack)).collect();
        for digest in &packs {
            // Of a pack that is elsewhere, there is no file that could be damaged.
            if self.inner.source.elsewhere(digest)?.is_some() {
                continue;
            }
            if self.blobs().hash(digest)? != *digest {
                return Err(StoreError::BlobDamaged {
                    digest: *digest,
                    path: self.blobs().path(digest),
                });
            }
        }
        let source = &self.inner.source;
        let verify = |(): &mut (), at: Locator| source.verified_frame(&at).map(drop);
        let chunks = known.chunks_of(&packs, used);
        ordered(chunks.into_iter(), || Ok(()), verify, Ok)
    }
}

/// Says that it is the parent's if a pack of it is damaged.
fn of_parent(
    error: ImportError,
    parent: Option<SnapshotDigest>,
    theirs: &[BlobDigest],
) -> ImportError {
    let pack = match &error {
        ImportError::Store(StoreError::BlobDamaged { digest, .. }) => *digest,
        ImportError::Store(StoreError::Frame { pack, .. }) => *pack,
        _ => return error,
    };
    match parent {
        Some(parent) if theirs.contains(&pack) => ImportError::ParentDamaged { parent, pack },
        _ => error,
    }
}

/// The size that a disk of at least this many bytes has; nothing if there can't be one.
pub(crate) fn round_up(disk_bytes: u64) -> Option<u64> {
    let rounded = disk_bytes.checked_next_multiple_of(DISK_GRAIN)?;
    (disk_bytes > 0 && rounded <= MAX_DISK_BYTES).then_some(rounded)
}

fn checked_size(disk_bytes: u64) -> Result<u64, ImportError> {
    round_up(disk_bytes).ok_or(ImportError::DiskSize { disk_bytes })
}

/// Everything that the snapshot follows from.
fn import_key(image: &Image, size: Option<u64>, options: &ImportOptions) -> String {
    let size = size.map_or("auto".to_owned(), |size| size.to_string());
    let parent = options
        .parent
        .map_or_else(String::new, |parent| format!(" parent={parent}"));
    format!(
        "{} size={size} chunk={} layout={LAYOUT_VERSION}{parent}",
        image.manifest_digest, options.chunk_bytes
    )
}
