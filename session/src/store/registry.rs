//! Snapshots that go to registries and come from them.

use std::num::NonZeroU64;

use rootfs_store::{
    BootPacked, Elsewhere, FillOptions, Filled, ImageReference, PublishOptions, PublishedImage,
    PullOptions, Pulled, Pushed, RegistryReference, RemoteStats, SnapshotDigest,
};

use super::chore::Chore;
use super::{Store, check_name};
use crate::error::Error;
use crate::telemetry;

/// What names of images and snapshots in registries may begin with.
const TRANSPORT: &str = "docker://";
/// What names of images in folders begin with.
const LAYOUT: &str = "oci:";
/// The tag that is meant where none is given.
const DEFAULT_TAG: &str = "latest";

/// What an image is published upon.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Base {
    /// The image that the snapshot came from, in the registry that it was imported from.
    Origin,
    /// That image, where this says: `docker://NAME` or `oci:DIR:TAG`.
    Image(String),
    /// Nothing: all files become one layer.
    Nothing,
}

impl Store {
    /// Pushes a snapshot to a registry, as `[docker://]HOST/REPOSITORY[:TAG]`: what is missing there, and nothing else.
    /// Nothing happens before [`Chore::start`].
    pub fn push(
        &self,
        snapshot: impl Into<SnapshotDigest>,
        to: impl Into<String>,
    ) -> Chore<Pushed> {
        let (snapshot, to) = (snapshot.into(), to.into());
        Chore::new("push", self.inner(), move |store, progress| {
            let pushed = store.push(&snapshot, &parse(&to)?, progress)?;
            telemetry::pushed(pushed.sent_bytes);
            Ok(pushed)
        })
    }

    /// Makes a snapshot of the same disk that has what its last start read in one pack, so that a start elsewhere takes
    /// few requests; see [`SnapshotInfo::profile`](crate::SnapshotInfo::profile). It has no name, but is kept until
    /// [`BootPacked::lease`] is dropped. Nothing happens before [`Chore::start`].
    pub fn with_boot_pack(&self, snapshot: impl Into<SnapshotDigest>) -> Chore<BootPacked> {
        let snapshot = snapshot.into();
        Chore::new("boot pack", self.inner(), move |store, progress| {
            Ok(store.with_boot_pack(&snapshot, progress)?)
        })
    }

    /// Pulls a snapshot from a registry, `[docker://]HOST/REPOSITORY[:TAG][@DIGEST]`, and names it if there is a name.
    /// Nothing happens before [`Chore::start`].
    pub fn pull(&self, from: impl Into<String>, name: Option<&str>) -> Chore<Pulled> {
        self.pull_with(from.into(), name, false)
    }

    /// As [`pull`](Self::pull), but what is on the disk stays in the registry until it is read, or until
    /// [`fill`](Self::fill). Nothing happens before [`Chore::start`].
    pub fn pull_lazily(&self, from: impl Into<String>, name: Option<&str>) -> Chore<Pulled> {
        self.pull_with(from.into(), name, true)
    }

    fn pull_with(&self, from: String, name: Option<&str>, lazy: bool) -> Chore<Pulled> {
        let name = name.map(str::to_owned);
        Chore::new("pull", self.inner(), move |store, progress| {
            name.as_deref().map_or(Ok(()), check_name)?;
            let mut options = PullOptions::default();
            options.lazy = lazy;
            let pulled = store.pull(&parse(&from)?, &options, progress)?;
            telemetry::pulled(pulled.fetched_bytes);
            if let Some(name) = &name {
                store.set_name(name, &pulled.snapshot)?;
            }
            Ok(pulled)
        })
    }

    /// The packs of a snapshot that are in a registry only, and how much of each is here.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if the store doesn't hold the snapshot.
    pub fn elsewhere(&self, snapshot: impl Into<SnapshotDigest>) -> Result<Vec<Elsewhere>, Error> {
        Ok(self.inner().elsewhere(&snapshot.into())?)
    }

    /// What was fetched of packs that are in a registry since the store was opened.
    #[must_use]
    pub fn remote_stats(&self) -> RemoteStats {
        self.inner().remote_stats()
    }

    /// Publishes a snapshot's files as an ordinary image, in a registry or as `oci:DIR[:TAG]` in a folder: as one more
    /// layer on the image that it came from, which is found by itself if it was imported from a registry. Nothing happens
    /// before [`Chore::start`].
    pub fn publish(
        &self,
        snapshot: impl Into<SnapshotDigest>,
        to: impl Into<String>,
        base: Base,
    ) -> Chore<PublishedImage> {
        let (snapshot, to) = (snapshot.into(), to.into());
        Chore::new("publish", self.inner(), move |store, progress| {
            let base = match base {
                Base::Origin => Some(store.base_of(&snapshot)?),
                Base::Image(reference) => Some(reference.parse()?),
                Base::Nothing => None,
            };
            let options = PublishOptions {
                base,
                ..PublishOptions::default()
            };
            let layout = to.starts_with(LAYOUT).then(|| to.parse()).transpose()?;
            match layout {
                Some(ImageReference::Oci { dir, tag }) => {
                    let tag = tag.as_deref().unwrap_or(DEFAULT_TAG);
                    Ok(store.publish_to_layout(&snapshot, &dir, tag, &options, progress)?)
                }
                _ => Ok(store.publish(&snapshot, &parse(&to)?, &options, progress)?),
            }
        })
    }

    /// Fetches the rest of a snapshot that was pulled lazily, at so many bytes per second at most if a limit is given.
    /// Sessions may run from it meanwhile. Nothing happens before [`Chore::start`].
    pub fn fill(
        &self,
        snapshot: impl Into<SnapshotDigest>,
        bytes_per_second: Option<NonZeroU64>,
    ) -> Chore<Filled> {
        let snapshot = snapshot.into();
        Chore::new("fill", self.inner(), move |store, progress| {
            let options = FillOptions {
                bytes_per_second,
                ..FillOptions::default()
            };
            let filled = store.fill(&snapshot, &options, progress)?;
            telemetry::pulled(filled.fetched_bytes);
            Ok(filled)
        })
    }
}

fn parse(text: &str) -> Result<RegistryReference, Error> {
    Ok(text.strip_prefix(TRANSPORT).unwrap_or(text).parse()?)
}
