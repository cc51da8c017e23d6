//! Importing a container image.

use std::fmt;

use rootfs_store::image::Platform;
use rootfs_store::{
    ImageReference, ImportOptions, Imported, Lease, Progress, PullError, PullOptions,
    SnapshotDigest,
};

use super::check_name;
use crate::error::Error;
use crate::op::Op;
use crate::telemetry;

/// An import that is being described; [`start`](Self::start) makes it happen.
#[must_use = "nothing is imported before `start`"]
pub struct Import {
    store: rootfs_store::Store,
    reference: String,
    platform: Option<String>,
    disk_bytes: Option<u64>,
    name: Option<String>,
    parent: Option<SnapshotDigest>,
    again: bool,
    progress: Box<dyn Progress + Send>,
}

impl Import {
    pub(super) fn new(store: rootfs_store::Store, reference: String) -> Self {
        Self {
            store,
            reference,
            platform: None,
            disk_bytes: None,
            name: None,
            parent: None,
            again: false,
            progress: Box::new(()),
        }
    }

    /// Names the snapshot. A name that is in use moves to it.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The size of the disk in bytes; without it 8 GiB, or more if the image needs more.
    pub fn disk_bytes(mut self, bytes: u64) -> Self {
        self.disk_bytes = Some(bytes);
        self
    }

    /// The machine that the image must be for, as `OS/ARCHITECTURE`; without it `linux/amd64`.
    pub fn platform(mut self, platform: impl Into<String>) -> Self {
        self.platform = Some(platform.into());
        self
    }

    /// A snapshot whose chunks are not stored again, an earlier version of the image for instance. The digest of the
    /// new snapshot then depends on this one too.
    pub fn parent(mut self, parent: SnapshotDigest) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Reads the image and writes it even if it was imported before, which puts back what was damaged of it since.
    pub fn again(mut self) -> Self {
        self.again = true;
        self
    }

    /// Is told how far the import has come.
    pub fn on_progress(mut self, progress: impl Progress + Send + 'static) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Starts the import. One that fails, or dies with its process, leaves no snapshot and no name behind.
    pub fn start(self) -> Op<Imported> {
        Op::start("import", move || self.run())
    }

    /// Reads what was asked for, without looking at the image.
    pub(crate) fn check(&self) -> Result<(ImageReference, ImportOptions), Error> {
        self.name.as_deref().map_or(Ok(()), check_name)?;
        let mut options = ImportOptions::default();
        if let Some(platform) = &self.platform {
            options.platform = platform.parse::<Platform>()?;
        }
        options.disk_bytes = self.disk_bytes;
        options.parent = self.parent;
        options.again = self.again;
        Ok((self.reference.parse()?, options))
    }

    /// The snapshot that the reference names in a registry, pulled lazily, with what keeps it; nothing if it names an
    /// image there, or names something elsewhere.
    fn pull(&self) -> Result<Option<(SnapshotDigest, Lease)>, Error> {
        let (ImageReference::Docker { reference }, _) = self.check()? else {
            return Ok(None);
        };
        let mut options = PullOptions::default();
        options.lazy = true;
        match self.store.pull(&reference, &options, &*self.progress) {
            Ok(pulled) => {
                telemetry::pulled(pulled.fetched_bytes);
                Ok(Some((pulled.snapshot, pulled.lease)))
            }
            Err(PullError::NoSnapshot { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The snapshot that the reference names, pulled lazily or imported, with what keeps it.
    pub(crate) fn obtain(self) -> Result<(SnapshotDigest, Lease), Error> {
        if let Some(pulled) = self.pull()? {
            return Ok(pulled);
        }
        let imported = self.run()?;
        Ok((imported.snapshot, imported.lease))
    }

    pub(crate) fn run(self) -> Result<Imported, Error> {
        let (reference, options) = self.check()?;
        let imported = self.store.import(&reference, &options, &*self.progress)?;
        telemetry::imported(imported.stored_bytes);
        if let Some(name) = &self.name {
            self.store.set_name(name, &imported.snapshot)?;
        }
        Ok(imported)
    }
}

impl fmt::Debug for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Import")
            .field("reference", &self.reference)
            .field("platform", &self.platform)
            .field("disk_bytes", &self.disk_bytes)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
