//! Which repositories have which snapshots, as far as pushes and pulls of this store know.
//!
//! A registry copies a blob from one of its repositories to another without it being sent again, if it is told where
//! to look. `places.json` remembers where that may be worth a try. It is a hint that may be old or gone.
//!
//! Invariant: nothing follows from an entry but a question to the registry.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use crate::blobs::{io_error, replace_file};
use crate::digest::{BlobDigest, SnapshotDigest};
use crate::manifest::parse_manifest;
use crate::reference::ImageReference;
use crate::store::{Store, StoreError};

const FILE: &str = "places.json";
const VERSION: u32 = 1;
/// Largest file that is read, in bytes: more than [`MAX_PLACES`] entries take.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Most snapshots that are remembered with their repositories; the oldest go first.
const MAX_PLACES: usize = 512;
/// Most repositories that are tried for one blob.
const MAX_TRIES: usize = 3;

/// The repositories of a registry that may have a blob, by blob.
pub(crate) type Mounts = BTreeMap<BlobDigest, BTreeSet<String>>;

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    /// Latest last.
    places: Vec<Place>,
    /// Images that were imported, latest last.
    #[serde(default)]
    images: Vec<ImagePlace>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ImagePlace {
    host: String,
    repository: String,
    /// Digest of the manifest.
    image: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    host: String,
    repository: String,
    snapshot: SnapshotDigest,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            version: VERSION,
            places: Vec::new(),
            images: Vec::new(),
        }
    }
}

/// Adds what is known best to the end, in the place of an older entry that says the same.
fn add_last<T: PartialEq>(list: &mut Vec<T>, last: T) {
    list.retain(|known| *known != last);
    list.push(last);
    list.drain(..list.len().saturating_sub(MAX_PLACES));
}

impl Store {
    /// Remembers that a repository has a snapshot.
    pub(crate) fn remember_place(&self, host: &str, repository: &str, snapshot: SnapshotDigest) {
        let place = Place {
            host: host.to_owned(),
            repository: repository.to_owned(),
            snapshot,
        };
        if let Err(error) = self.add_place(place) {
            tracing::debug!(%error, "could not remember where a snapshot is");
        }
    }

    fn add_place(&self, place: Place) -> Result<(), StoreError> {
        self.change_places(|document| add_last(&mut document.places, place))
    }

    /// Remembers that a repository has an image, by its manifest's digest.
    pub(crate) fn remember_image(&self, host: &str, repository: &str, image: &str) {
        let place = ImagePlace {
            host: host.to_owned(),
            repository: repository.to_owned(),
            image: image.to_owned(),
        };
        let added = self.change_places(|document| add_last(&mut document.images, place));
        if let Err(error) = added {
            tracing::debug!(%error, "could not remember where an image is");
        }
    }

    /// Where an image was imported from last.
    pub(crate) fn image_place(&self, image: &str) -> Option<ImageReference> {
        let known = self.places().ok()?.images;
        let place = known.iter().rev().find(|place| place.image == image)?;
        let name = format!("{}/{}@{image}", place.host, place.repository);
        let reference = name.parse().ok()?;
        Some(ImageReference::Docker { reference })
    }

    fn change_places(&self, change: impl FnOnce(&mut Document)) -> Result<(), StoreError> {
        let _lock = self.inner.references.lock()?;
        let mut document = self.places()?;
        change(&mut document);
        let bytes =
            serde_json::to_vec(&document).map_err(|source| StoreError::Encode { source })?;
        let (files, staging) = (self.blobs().files(), self.blobs().staging());
        replace_file(files, staging, self.dir(), FILE, &bytes)
    }

    /// Where blobs may be mounted from into `repository` at `host`.
    pub(crate) fn mounts(&self, host: &str, repository: &str) -> Mounts {
        let mut mounts = Mounts::new();
        let places = self.places().map(|document| document.places);
        let places = places.unwrap_or_default();
        let others = |place: &&Place| place.host == host && place.repository != repository;
        for place in places.iter().rev().filter(others) {
            let document = self.blobs().document(&place.snapshot.into());
            let Ok(Some(manifest)) = document.map(|document| document.map(|d| parse_manifest(&d)))
            else {
                continue;
            };
            for pack in manifest.map(|manifest| manifest.packs).unwrap_or_default() {
                let from = mounts.entry(pack.digest).or_default();
                if from.len() < MAX_TRIES {
                    from.insert(place.repository.clone());
                }
            }
        }
        mounts
    }

    /// What is remembered; nothing of a file that can't be used.
    fn places(&self) -> Result<Document, StoreError> {
        let path = self.dir().join(FILE);
        let mut bytes = Vec::new();
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Document::default()),
            opened => opened
                .and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes))
                .map_err(io_error("read", &path))?,
        };
        let document = serde_json::from_slice::<Document>(&bytes).ok();
        let known = document.filter(|document| document.version == VERSION);
        Ok(known.unwrap_or_default())
    }
}
