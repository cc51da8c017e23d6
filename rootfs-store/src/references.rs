//! The layout's `index.json`: which snapshots have names, and which image became which snapshot.
//!
//! Entries that others put there, with `skopeo copy` for example, are kept as they are.
//!
//! Invariant: whoever changes `index.json` holds the store's lock and replaces the file as a whole. Other tools know
//! nothing of that lock, so they must not write to the layout while a process changes the store: one would undo what
//! the other wrote.

mod entry;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use oci_spec::image::{
    Descriptor, ImageIndex, ImageIndexBuilder, MediaType, OciLayout, OciLayoutBuilder,
};

use crate::blobs::{io_error, replace_file, sync_dir};
use crate::digest::SnapshotDigest;
use crate::files::Files;
use crate::store::{StoreError, StoreLock};
pub use entry::NamedSnapshot;
pub(crate) use entry::{Entry, is_name};
use entry::{NAME, SOURCE, annotation, descriptor, snapshot, to_entry};

const INDEX: &str = "index.json";
const LAYOUT: &str = "oci-layout";
const LAYOUT_VERSION: &str = "1.0.0";
/// Largest `index.json` that is read and written, in bytes: some 200,000 entries.
const MAX_INDEX_BYTES: u64 = 64 << 20;

/// The references of one store.
#[derive(Debug)]
pub(crate) struct References {
    files: Files,
    root: PathBuf,
    staging: PathBuf,
}

impl References {
    /// Opens the layout in `root`, or makes an empty one; `staging` is a folder on the same file system.
    pub(crate) fn open(root: &Path, staging: &Path, files: Files) -> Result<Self, StoreError> {
        let references = Self {
            files,
            root: root.to_owned(),
            staging: staging.to_owned(),
        };
        let _lock = references.lock()?;
        let path = root.join(LAYOUT);
        if path.try_exists().map_err(io_error("find", &path))? {
            references.check_layout(path)?;
            return Ok(references);
        }
        // The index comes first: a layout without one has lost it, and is not taken for an empty one.
        let index = root.join(INDEX);
        if !index.try_exists().map_err(io_error("find", &index))? {
            let empty = ImageIndexBuilder::default()
                .schema_version(2u32)
                .media_type(MediaType::ImageIndex)
                .manifests(Vec::new())
                .build()
                .map_err(|source| StoreError::Oci { source })?;
            references.write(&empty)?;
        }
        let document = OciLayoutBuilder::default()
            .image_layout_version(LAYOUT_VERSION)
            .build();
        let document = document.map_err(|source| StoreError::Oci { source })?;
        references.replace(LAYOUT, &encode(&document)?)?;
        Ok(references)
    }

    fn check_layout(&self, path: PathBuf) -> Result<(), StoreError> {
        let bytes = read_bounded(&path)?;
        let layout: OciLayout =
            serde_json::from_slice(&bytes).map_err(|source| StoreError::Index {
                path: path.clone(),
                source,
            })?;
        if layout.image_layout_version() != LAYOUT_VERSION {
            let found = layout.image_layout_version().clone();
            return Err(StoreError::LayoutVersion { path, found });
        }
        self.read().map(drop)
    }

    /// All snapshots that have names, sorted by name.
    pub(crate) fn names(&self) -> Result<Vec<NamedSnapshot>, StoreError> {
        let index = self.read()?;
        let named = index.manifests().iter().filter_map(|entry| {
            let name = annotation(entry, NAME)
                .filter(|name| is_name(name))?
                .to_owned();
            Some(NamedSnapshot {
                name,
                digest: snapshot(entry)?,
            })
        });
        let mut names: Vec<_> = named.collect();
        names.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(names)
    }

    /// All entries.
    ///
    /// # Errors
    /// [`StoreError::ForeignDigest`] besides what reading gives: what such an entry needs can't be told.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        self.read()?.manifests().iter().map(to_entry).collect()
    }

    /// Forgets which images became the snapshots that are gone, while the caller holds the store's lock.
    pub(crate) fn forget_imports(
        &self,
        _lock: &StoreLock,
        is_gone: impl Fn(&SnapshotDigest) -> bool,
    ) -> Result<(), StoreError> {
        let mut index = self.read()?;
        let mut entries = index.manifests().clone();
        entries.retain(
            |entry| !matches!(to_entry(entry), Ok(Entry::Imported(digest)) if is_gone(&digest)),
        );
        if entries.len() == index.manifests().len() {
            return Ok(());
        }
        index.set_manifests(entries);
        self.write(&index)
    }

    /// The snapshot that an import of `source` made.
    pub(crate) fn imported(&self, source: &str) -> Result<Option<SnapshotDigest>, StoreError> {
        let index = self.read()?;
        let mut entries = index.manifests().iter();
        let found = entries.find(|entry| annotation(entry, SOURCE) == Some(source));
        Ok(found.and_then(snapshot))
    }

    /// Remembers that an import of `source` made the snapshot.
    pub(crate) fn set_imported(
        &self,
        source: &str,
        digest: SnapshotDigest,
        manifest_bytes: u64,
    ) -> Result<(), StoreError> {
        self.set(SOURCE, source, digest, manifest_bytes)
    }

    /// Gives the snapshot a name that was checked, whichever snapshot had it before.
    pub(crate) fn set_name(
        &self,
        name: &str,
        digest: SnapshotDigest,
        manifest_bytes: u64,
    ) -> Result<(), StoreError> {
        self.set(NAME, name, digest, manifest_bytes)
    }

    /// Moves a name from one snapshot to another, unless it means something else by now; whether it was moved.
    pub(crate) fn move_name(
        &self,
        name: &str,
        from: SnapshotDigest,
        to: SnapshotDigest,
        manifest_bytes: u64,
    ) -> Result<bool, StoreError> {
        let moved = descriptor(to, manifest_bytes, NAME, name);
        let moved = moved.map_err(|source| StoreError::Oci { source })?;
        let _lock = self.lock()?;
        let mut index = self.read()?;
        let mut entries = index.manifests().clone();
        let is_it = |entry: &&mut Descriptor| {
            annotation(entry, NAME) == Some(name) && snapshot(entry) == Some(from)
        };
        let Some(entry) = entries.iter_mut().find(is_it) else {
            return Ok(false);
        };
        *entry = moved;
        index.set_manifests(entries);
        self.write(&index).map(|()| true)
    }

    /// Takes the name away; whether a snapshot had it.
    pub(crate) fn remove_name(&self, name: &str) -> Result<bool, StoreError> {
        let _lock = self.lock()?;
        let mut index = self.read()?;
        let mut entries = index.manifests().clone();
        entries.retain(|entry| annotation(entry, NAME) != Some(name) || snapshot(entry).is_none());
        if entries.len() == index.manifests().len() {
            // Who took it away may have been killed before that was durable.
            sync_dir(&self.files, &self.root)?;
            return Ok(false);
        }
        index.set_manifests(entries);
        self.write(&index).map(|()| true)
    }

    fn set(
        &self,
        key: &str,
        value: &str,
        digest: SnapshotDigest,
        manifest_bytes: u64,
    ) -> Result<(), StoreError> {
        let entry = descriptor(digest, manifest_bytes, key, value)
            .map_err(|source| StoreError::Oci { source })?;
        let _lock = self.lock()?;
        let mut index = self.read()?;
        let mut entries = index.manifests().clone();
        entries.retain(|entry| annotation(entry, key) != Some(value) || snapshot(entry).is_none());
        if entries
            .iter()
            .any(|entry| annotation(entry, key) == Some(value))
        {
            return Err(StoreError::NameTaken {
                name: value.to_owned(),
            });
        }
        entries.push(entry);
        index.set_manifests(entries);
        self.write(&index)
    }

    fn read(&self) -> Result<ImageIndex, StoreError> {
        let path = self.root.join(INDEX);
        let bytes = read_bounded(&path)?;
        serde_json::from_slice(&bytes).map_err(|source| StoreError::Index { path, source })
    }

    fn write(&self, index: &ImageIndex) -> Result<(), StoreError> {
        let bytes = encode(index)?;
        if bytes.len() as u64 > MAX_INDEX_BYTES {
            return Err(StoreError::IndexFull {
                path: self.root.join(INDEX),
                bytes: bytes.len() as u64,
                limit: MAX_INDEX_BYTES,
            });
        }
        self.replace(INDEX, &bytes)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        replace_file(&self.files, &self.staging, &self.root, name, bytes)
    }

    /// Waits for other writers, and for a collection.
    pub(crate) fn lock(&self) -> Result<StoreLock, StoreError> {
        StoreLock::wait(&self.files, &self.root)
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_INDEX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(io_error("read", path))?;
    match bytes.len() as u64 > MAX_INDEX_BYTES {
        true => Err(StoreError::TooLarge {
            path: path.to_owned(),
            limit: MAX_INDEX_BYTES,
        }),
        false => Ok(bytes),
    }
}

fn encode(document: &impl serde::Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(document).map_err(|source| StoreError::Encode { source })
}

#[cfg(test)]
mod tests;
