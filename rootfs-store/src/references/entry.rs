//! What entries of `index.json` stand for, and how they say so.

use std::collections::HashMap;

use oci_spec::image::{Descriptor, DescriptorBuilder, MediaType};

use crate::digest::{BlobDigest, SnapshotDigest};
use crate::manifest::ARTIFACT_TYPE;
use crate::reach::Link;
use crate::store::{MIN_PREFIX_DIGITS, StoreError};

/// Where an OCI layout keeps the names of its entries.
pub(super) const NAME: &str = "org.opencontainers.image.ref.name";
/// What an imported snapshot was made from: see [`References::imported`](super::References::imported).
pub(super) const SOURCE: &str = "vnd.vm-sessions.import.source";
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

/// What an entry of `index.json` stands for.
#[derive(Debug)]
pub(crate) enum Entry {
    Named(NamedSnapshot),
    /// What an image became.
    Imported(SnapshotDigest),
    /// Something of another tool, and its name.
    Other(Option<String>, Link),
}

pub(super) fn descriptor(
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

pub(super) fn annotation<'a>(entry: &'a Descriptor, key: &str) -> Option<&'a str> {
    entry.annotations().as_ref()?.get(key).map(String::as_str)
}

pub(super) fn snapshot(entry: &Descriptor) -> Option<SnapshotDigest> {
    let ours = entry
        .artifact_type()
        .as_ref()
        .is_some_and(|kind| kind.to_string() == ARTIFACT_TYPE);
    ours.then(|| entry.digest().to_string().parse().ok())?
}

pub(super) fn to_entry(entry: &Descriptor) -> Result<Entry, StoreError> {
    let name = annotation(entry, NAME);
    match (snapshot(entry), name) {
        (Some(digest), Some(name)) if is_name(name) => Ok(Entry::Named(NamedSnapshot {
            name: name.to_owned(),
            digest,
        })),
        (Some(digest), None) if annotation(entry, SOURCE).is_some() => Ok(Entry::Imported(digest)),
        _ => {
            let text = entry.digest().to_string();
            let digest = text.parse();
            let link = Link {
                media_type: entry.media_type().to_string(),
                digest: digest.map_err(|_| StoreError::ForeignDigest { text })?,
                size: Some(entry.size()),
            };
            Ok(Entry::Other(name.map(str::to_owned), link))
        }
    }
}

/// Names are short, printable, and can be taken neither for a digest nor for an image's reference.
pub(crate) fn is_name(name: &str) -> bool {
    let allowed =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b':');
    let digits = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    name.len() <= MAX_NAME_LEN
        && name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
        && name.bytes().all(allowed)
        && !(name.len() >= MIN_PREFIX_DIGITS && name.bytes().all(digits))
        && !["sha256:", "oci:", "docker:", "docker-archive:"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}
