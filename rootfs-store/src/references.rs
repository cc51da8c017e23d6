//! The layout's `index.json`: which snapshots have names, and which image became which snapshot.
//!
//! Entries that others put there, with `skopeo copy` for example, are kept as they are.
//!
//! Invariant: whoever changes `index.json` holds the store's lock and replaces the file as a whole.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use oci_spec::image::{
    Descriptor, DescriptorBuilder, ImageIndex, ImageIndexBuilder, MediaType, OciLayoutBuilder,
};

use crate::blobs::{io_error, replace_file};
use crate::digest::{BlobDigest, SnapshotDigest};
use crate::manifest::ARTIFACT_TYPE;
use crate::store::StoreError;

const INDEX: &str = "index.json";
const LAYOUT: &str = "oci-layout";
const LAYOUT_VERSION: &str = "1.0.0";
const LOCK: &str = "lock";
/// Where an OCI layout keeps the names of its entries.
const NAME: &str = "org.opencontainers.image.ref.name";
/// What an imported snapshot was made from: see [`References::imported`].
const SOURCE: &str = "vnd.vm-sessions.import.source";
/// Largest `index.json` that is read, in bytes: some 200,000 entries.
const MAX_INDEX_BYTES: u64 = 64 << 20;
/// Longest name of a snapshot, in bytes.
const MAX_NAME_LEN: usize = 128;

/// A snapshot that has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedSnapshot {
    /// The name.
    pub name: String,
    /// The snapshot.
    pub digest: SnapshotDigest,
}

/// The references of one store.
#[derive(Debug)]
pub(crate) struct References {
    root: PathBuf,
}

impl References {
    /// Opens the layout in `root`, or makes an empty one.
    pub(crate) fn open(root: &Path) -> Result<Self, StoreError> {
        let references = Self {
            root: root.to_owned(),
        };
        let _lock = references.lock()?;
        let layout = root.join(LAYOUT);
        if !layout.exists() {
            let document = OciLayoutBuilder::default()
                .image_layout_version(LAYOUT_VERSION)
                .build();
            let document = document.map_err(|source| StoreError::Oci { source })?;
            replace_file(root, LAYOUT, &encode(&document)?)?;
        }
        if !root.join(INDEX).exists() {
            references.write(Vec::new())?;
        }
        Ok(references)
    }

    /// All snapshots that have names, sorted by name.
    pub(crate) fn names(&self) -> Result<Vec<NamedSnapshot>, StoreError> {
        let mut names: Vec<_> = self
            .read()?
            .iter()
            .filter_map(|entry| {
                let name = annotation(entry, NAME)?.to_owned();
                Some(NamedSnapshot {
                    name,
                    digest: snapshot(entry)?,
                })
            })
            .collect();
        names.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(names)
    }

    /// The snapshot that an import of `source` made.
    pub(crate) fn imported(&self, source: &str) -> Result<Option<SnapshotDigest>, StoreError> {
        let entries = self.read()?;
        let found = entries
            .iter()
            .find(|entry| annotation(entry, SOURCE) == Some(source));
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

    /// Names the snapshot, whatever had the name before.
    pub(crate) fn set_name(
        &self,
        name: &str,
        digest: SnapshotDigest,
        manifest_bytes: u64,
    ) -> Result<(), StoreError> {
        check_name(name)?;
        self.set(NAME, name, digest, manifest_bytes)
    }

    /// Takes the name away; whether there was one.
    pub(crate) fn remove_name(&self, name: &str) -> Result<bool, StoreError> {
        let _lock = self.lock()?;
        let mut entries = self.read()?;
        let before = entries.len();
        entries.retain(|entry| annotation(entry, NAME) != Some(name));
        if entries.len() == before {
            return Ok(false);
        }
        self.write(entries).map(|()| true)
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
        let mut entries = self.read()?;
        entries.retain(|entry| annotation(entry, key) != Some(value));
        entries.push(entry);
        self.write(entries)
    }

    fn read(&self) -> Result<Vec<Descriptor>, StoreError> {
        let path = self.root.join(INDEX);
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(MAX_INDEX_BYTES).read_to_end(&mut bytes))
            .map_err(io_error("read", &path))?;
        let index: ImageIndex =
            serde_json::from_slice(&bytes).map_err(|source| StoreError::Index { path, source })?;
        Ok(index.manifests().clone())
    }

    fn write(&self, entries: Vec<Descriptor>) -> Result<(), StoreError> {
        let index = ImageIndexBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageIndex)
            .manifests(entries)
            .build()
            .map_err(|source| StoreError::Oci { source })?;
        replace_file(&self.root, INDEX, &encode(&index)?)
    }

    /// Waits for other writers; the lock is released when the file is dropped.
    fn lock(&self) -> Result<File, StoreError> {
        let path = self.root.join(LOCK);
        let open = || -> io::Result<File> {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)?;
            file.lock()?;
            Ok(file)
        };
        open().map_err(io_error("lock", &path))
    }
}

fn encode(document: &impl serde::Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(document).map_err(|source| StoreError::Encode { source })
}

fn descriptor(
    digest: SnapshotDigest,
    bytes: u64,
    key: &str,
    value: &str,
) -> Result<Descriptor, oci_spec::OciSpecError> {
    let digest: oci_spec::image::Sha256Digest = BlobDigest::from(digest).file_name().parse()?;
    DescriptorBuilder::default()
        .media_type(MediaType::ImageManifest)
        .artifact_type(MediaType::Other(ARTIFACT_TYPE.to_owned()))
        .digest(digest)
        .size(bytes)
        .annotations(HashMap::from([(key.to_owned(), value.to_owned())]))
        .build()
}

fn annotation<'a>(entry: &'a Descriptor, key: &str) -> Option<&'a str> {
    entry.annotations().as_ref()?.get(key).map(String::as_str)
}

fn snapshot(entry: &Descriptor) -> Option<SnapshotDigest> {
    let ours = entry
        .artifact_type()
        .as_ref()
        .is_some_and(|kind| kind.to_string() == ARTIFACT_TYPE);
    ours.then(|| entry.digest().to_string().parse().ok())?
}

/// Names are short, printable, and can be taken neither for a digest nor for an image's reference.
fn check_name(name: &str) -> Result<(), StoreError> {
    let allowed =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b':');
    let good = name.len() <= MAX_NAME_LEN
        && name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
        && name.bytes().all(allowed)
        && !["sha256:", "oci:", "docker:", "docker-archive:"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
    match good {
        true => Ok(()),
        false => Err(StoreError::BadName {
            name: name.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
