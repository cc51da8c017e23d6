//! What a registry gives to upload to.
//!
//! Invariant: the address is the newest that the registry told; the offset is what it has, unless that is doubtful.

use ureq::http::Method;

use super::super::body::Body;
use super::super::content_range::parse_uploaded;
use super::super::error::RegistryError;
use super::super::repository::Repository;
use super::super::transport::Head;
use super::super::url::Url;

/// Most chunks of a blob: registries limit the rate of requests, so larger blobs have larger chunks.
pub(super) const MAX_CHUNKS: u64 = 64;

/// A place to upload to.
pub(super) struct Session {
    /// Where the next request goes.
    pub(super) url: Url,
    /// Bytes that the registry has.
    pub(super) offset: u64,
    /// The largest offset that something was sent up to.
    pub(super) sent: u64,
    /// Bytes of a chunk.
    pub(super) chunk: u64,
    /// Whether a request broke off, so that only the registry knows what it has.
    pub(super) is_doubtful: bool,
    /// Whether the offset is what the registry said after a request broke off.
    pub(super) is_resumed: bool,
}

impl Session {
    /// Begins an upload of `size` bytes, in chunks of at least `chunk` bytes.
    pub(super) fn start(
        repository: &Repository,
        size: u64,
        chunk: u64,
    ) -> Result<Self, RegistryError> {
        let head = Head::new(Method::POST);
        let url = repository.url(repository.registry(), "blobs/uploads/")?;
        let answer = repository.change(&head, &url, &mut Body::Empty)?;
        if !matches!(answer.status(), 200..300) {
            return Err(answer.into_error());
        }
        let url = repository.client().location(&answer)?;
        let least = answer.header("oci-chunk-min-length");
        let least = least.and_then(|value| value.parse().ok()).unwrap_or(0);
        answer.drain();
        Ok(Self {
            url,
            offset: 0,
            sent: 0,
            chunk: chunk.max(size / MAX_CHUNKS + 1).max(least),
            is_doubtful: false,
            is_resumed: false,
        })
    }

    /// Asks what the registry has, and says whether it can be gone on with.
    pub(super) fn ask(&mut self, repository: &Repository) -> Result<bool, RegistryError> {
        let head = Head::new(Method::GET);
        let answer = repository.change(&head, &self.url, &mut Body::Empty)?;
        if !matches!(answer.status(), 200..300) {
            let error = answer.into_error();
            return if error.is_transient() {
                Err(error)
            } else {
                Ok(false)
            };
        }
        let offset = answer.header("range").and_then(parse_uploaded);
        let url = repository.client().location(&answer).ok();
        answer.drain();
        // More than was sent is not what was sent.
        let Some(offset) = offset.filter(|&offset| offset <= self.sent) else {
            return Ok(false);
        };
        if let Some(url) = url {
            self.url = url;
        }
        self.offset = offset;
        self.is_doubtful = false;
        self.is_resumed = true;
        Ok(true)
    }
}
