//! Following a document of a layout to all that it needs.
//!
//! Documents of other tools are followed too, and read leniently: what is followed for nothing only takes space.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::Value;

use crate::blobs::Blobs;
use crate::digest::{BlobDigest, SnapshotDigest};
use crate::store::StoreError;

/// Most documents that are followed from one root: more than any registry's index has.
const MAX_DOCUMENTS: usize = 100_000;

/// A document of a layout, as far as it names other blobs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Document {
    config: Option<Link>,
    layers: Option<Vec<Link>>,
    blobs: Option<Vec<Link>>,
    manifests: Option<Vec<Link>>,
    subject: Option<Link>,
}

/// How a document names a blob.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Link {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: BlobDigest,
    /// In bytes.
    #[serde(default)]
    pub(crate) size: Option<u64>,
}

impl Link {
    pub(crate) fn to_snapshot(digest: &SnapshotDigest) -> Self {
        Self {
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            digest: (*digest).into(),
            size: None,
        }
    }

    /// Whether it must be a document; an index may name anything.
    fn is_document(&self) -> bool {
        ["manifest", "index"]
            .iter()
            .any(|kind| self.media_type.contains(kind))
    }
}

/// Told what a walk comes by.
pub(crate) trait Visit {
    /// Something that is needed: a document whose links come next, or another blob.
    fn found(&mut self, link: &Link, is_document: bool);

    /// A document can't be read. The walk goes on unless this returns an error.
    fn failed(&mut self, link: &Link, error: StoreError) -> Result<(), StoreError>;
}

/// Follows a document to all that it needs.
///
/// An index may name manifests that are not there, of platforms that were not copied. But the start must be there.
pub(crate) fn walk(blobs: &Blobs, start: &Link, visit: &mut impl Visit) -> Result<(), StoreError> {
    let mut waiting = vec![start.clone()];
    let mut seen = HashSet::new();
    while let Some(link) = waiting.pop() {
        if !seen.insert(link.digest) {
            continue;
        }
        if seen.len() > MAX_DOCUMENTS {
            let (digest, limit) = (start.digest, MAX_DOCUMENTS);
            return visit.failed(start, StoreError::TooManyDocuments { digest, limit });
        }
        let document = match read(blobs, &link) {
            Ok(document) => document,
            Err(StoreError::NotFound { .. }) if link.digest != start.digest => {
                visit.found(&link, true);
                continue;
            }
            Err(error) => {
                visit.found(&link, true);
                visit.failed(&link, error)?;
                continue;
            }
        };
        visit.found(&link, document.is_some());
        let document = document.unwrap_or_default();
        let leaves = [document.layers, document.blobs].into_iter().flatten();
        for leaf in leaves.flatten().chain(document.config) {
            visit.found(&leaf, false);
        }
        waiting.extend(document.manifests.into_iter().flatten());
        waiting.extend(document.subject);
    }
    Ok(())
}

/// A document; nothing if it need not be one and is none.
fn read(blobs: &Blobs, link: &Link) -> Result<Option<Document>, StoreError> {
    let bytes = match blobs.document(&link.digest) {
        Ok(Some(bytes)) => bytes,
        Err(StoreError::NoDocument { .. }) if !link.is_document() => return Ok(None),
        Ok(None) => {
            return Err(StoreError::NotFound {
                text: link.digest.to_string(),
            });
        }
        Err(error) => return Err(error),
    };
    // By way of a map, as a list would be taken for a document's members in order.
    let parsed =
        serde_json::from_slice(&bytes).and_then(|map| serde_json::from_value(Value::Object(map)));
    match parsed {
        Ok(document) => Ok(Some(document)),
        Err(_) if !link.is_document() => Ok(None),
        Err(source) => Err(StoreError::Document {
            digest: link.digest,
            source,
        }),
    }
}
