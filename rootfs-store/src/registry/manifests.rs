//! Manifests and indexes.
//!
//! Invariant: bytes that are handed out have the digest that is handed out with them, and that was asked for.

use serde::Deserialize;
use ureq::http::Method;
use ureq::http::header::CONTENT_TYPE;

use super::answer::Answer;
use super::body::Body;
use super::client::Registry;
use super::error::RegistryError;
use super::reference::is_manifest;
use super::repository::Repository;
use super::server_text::shown;
use super::transport::Head;
use super::url::Url;
use crate::digest::BlobDigest;

/// Largest manifest that is read or written, in bytes: what registries take at least, and mostly at most.
pub(crate) const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// What manifests of images and artifacts are by OCI: what we write.
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// What we can read.
const MEDIA_TYPES: [&str; 4] = [
    OCI_MANIFEST,
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
/// The same as a header.
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

/// A manifest or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub(crate) bytes: Vec<u8>,
    /// One of the media types of OCI's or Docker's manifests and indexes.
    pub(crate) media_type: String,
    /// The digest of `bytes`.
    pub(crate) digest: BlobDigest,
}

#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "mediaType")]
    media_type: String,
}

impl Repository {
    /// Reads a manifest or an index by its tag or digest.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::TooLarge`], [`RegistryError::DigestMismatch`],
    /// [`RegistryError::MediaType`] or any other [`RegistryError`] of a request.
    pub(crate) fn manifest(&self, reference: &str) -> Result<Fetched, RegistryError> {
        self.read_anywhere(|registry| self.manifest_at(registry, reference))
    }

    /// The digest of the manifest with this tag or digest, or nothing if there is none. Mirrors are not asked.
    ///
    /// # Errors
    /// Any [`RegistryError`] of a request.
    pub(crate) fn has_manifest(
        &self,
        reference: &str,
    ) -> Result<Option<BlobDigest>, RegistryError> {
        self.client().attempts(|| {
            let answer = self.ask_manifest(Method::HEAD, self.registry(), reference)?;
            match answer.status() {
                200 => {}
                404 => return Ok(None),
                _ => return Err(answer.into_error()),
            }
            let expected: Option<BlobDigest> = reference.parse().ok();
            match (answer.digest()?, expected) {
                (Some(found), Some(expected)) => {
                    check_digest(answer.request(), expected, found)?;
                    Ok(Some(found))
                }
                (None, None) => {
                    drop(answer);
                    let fetched = self.manifest_at(self.registry(), reference)?;
                    Ok(Some(fetched.digest))
                }
                (found, expected) => Ok(found.or(expected)),
            }
        })
    }

    /// Writes a manifest under a tag or its digest. All that it names must be there already.
    ///
    /// # Errors
    /// [`RegistryError::TooLarge`]; [`RegistryError::DigestMismatch`] if the registry has made something else of it;
    /// any other [`RegistryError`] of a request.
    pub(crate) fn put_manifest(
        &self,
        reference: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(), RegistryError> {
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(RegistryError::TooLarge {
                what: format!("manifest {reference}"),
                limit: MAX_MANIFEST_BYTES,
            });
        }
        let mut head = Head::new(Method::PUT);
        head.content_type = Some(media_type.to_owned());
        self.client().attempts(|| {
            let url = self.manifest_url(self.registry(), reference)?;
            let answer = self.change(&head, &url, &mut Body::Bytes(bytes));
            // Where it went wrong, it is worth to ask before the bytes are sent again.
            head.waits_for_consent = true;
            let answer = answer?;
            if !matches!(answer.status(), 200..300) {
                return Err(answer.into_error());
            }
            if let Some(found) = answer.digest()? {
                check_digest(answer.request(), BlobDigest::of(bytes), found)?;
            }
            answer.drain();
            Ok(())
        })
    }

    fn ask_manifest(
        &self,
        method: Method,
        registry: &Registry,
        reference: &str,
    ) -> Result<Answer, RegistryError> {
        let mut head = Head::new(method);
        head.accept = ACCEPT;
        let url = self.manifest_url(registry, reference)?;
        self.ask(registry, &head, &url)
    }

    fn manifest_url(&self, registry: &Registry, reference: &str) -> Result<Url, RegistryError> {
        if !is_manifest(reference) {
            return Err(RegistryError::BadName {
                name: reference.to_owned(),
            });
        }
        self.url(registry, &format!("manifests/{reference}"))
    }

    fn manifest_at(&self, registry: &Registry, reference: &str) -> Result<Fetched, RegistryError> {
        let mut answer = self.ask_manifest(Method::GET, registry, reference)?;
        if answer.status() != 200 {
            return Err(answer.into_error());
        }
        let claimed = answer.digest()?;
        let bytes = answer.read_all(&format!("manifest {reference}"), MAX_MANIFEST_BYTES)?;
        let digest = BlobDigest::of(&bytes);
        let asked: Option<BlobDigest> = reference.parse().ok();
        for expected in [asked, claimed].into_iter().flatten() {
            check_digest(answer.request(), expected, digest)?;
        }
        Ok(Fetched {
            media_type: media_type(&answer, &bytes)?,
            bytes,
            digest,
        })
    }
}

fn check_digest(
    request: &str,
    expected: BlobDigest,
    found: BlobDigest,
) -> Result<(), RegistryError> {
    if expected == found {
        return Ok(());
    }
    Err(RegistryError::DigestMismatch {
        request: request.to_owned(),
        expected,
        found,
    })
}

/// The media type that the answer has, or else the document itself: plain file servers know none of ours.
fn media_type(answer: &Answer, bytes: &[u8]) -> Result<String, RegistryError> {
    let sent = answer.header(CONTENT_TYPE.as_str()).unwrap_or_default();
    let sent = sent.split(';').next().unwrap_or_default().trim();
    let known = |found: &str| {
        let is = |known: &&&str| known.eq_ignore_ascii_case(found);
        MEDIA_TYPES.iter().find(is).map(|&known| known.to_owned())
    };
    let written = || serde_json::from_slice::<Typed>(bytes).ok();
    known(sent)
        .or_else(|| known(&written()?.media_type))
        .ok_or_else(|| RegistryError::MediaType {
            request: answer.request().to_owned(),
            found: shown(sent),
        })
}

#[cfg(test)]
mod tests;
