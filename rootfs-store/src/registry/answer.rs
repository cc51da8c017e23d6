//! Answers of registries.
//!
//! Invariant: a body is read within a bound that the caller names, never as far as it goes.

use std::io::Read;
use std::sync::Arc;
use std::time::SystemTime;

use tracing::Span;
use ureq::http::{HeaderMap, Response};
use ureq::{BodyReader, http};

use super::error::RegistryError;
use super::metrics::{Counters, count};
use super::retry_after::parse_retry_after;
use super::server_text::{MAX_FAILURE_BYTES, failure_text};
use super::slots::Slot;
use super::transport::wire_error;
use super::url::Url;
use crate::digest::BlobDigest;

/// Bodies up to this many bytes are read to their end, so that their connection can be used again.
const MAX_DRAIN_BYTES: u64 = 64 << 10;
/// Bytes of a small body that are read at once.
const PIECE_BYTES: usize = 16 << 10;
const DIGEST_HEADER: &str = "docker-content-digest";

/// The head of an answer, and its body to be read.
pub(crate) struct Answer {
    status: u16,
    headers: HeaderMap,
    body: BodyReader<'static>,
    url: Url,
    request: String,
    counters: Arc<Counters>,
    following: Following,
    /// Held while the body is read.
    slot: Option<Slot>,
}

impl Answer {
    pub(crate) fn new(
        response: Response<ureq::Body>,
        url: Url,
        request: String,
        counters: Arc<Counters>,
    ) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.into_reader(),
            url,
            request,
            counters,
            following: Following {
                span: Span::none(),
                received: 0,
            },
            slot: None,
        }
    }

    pub(crate) fn with_span(mut self, span: Span) -> Self {
        self.following.span = span;
        self
    }

    pub(crate) fn with_slot(mut self, slot: Slot) -> Self {
        self.slot = Some(slot);
        self
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// Method and address, for errors.
    pub(crate) fn request(&self) -> &str {
        &self.request
    }

    /// Where the answer came from.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// The first value of a header, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All values of a header that are text.
    pub(crate) fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.headers.get_all(name).into_iter();
        values.filter_map(|value| value.to_str().ok())
    }

    /// What `Content-Length` says, also in an answer without a body.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header(http::header::CONTENT_LENGTH.as_str())?
            .parse()
            .ok()
    }

    /// What `Docker-Content-Digest` says. One of another algorithm is as good as none.
    pub(crate) fn digest(&self) -> Result<Option<BlobDigest>, RegistryError> {
        match self.header(DIGEST_HEADER) {
            Some(text) if text.starts_with("sha256:") => {
                text.parse()
                    .map(Some)
                    .map_err(|source| RegistryError::BadDigest {
                        request: self.request.clone(),
                        source,
                    })
            }
            _ => Ok(None),
        }
    }

    /// Reads some bytes of the body; none at its end.
    pub(crate) fn read(&mut self, buf: &mut [u8]) -> Result<usize, RegistryError> {
        let read = self.body.read(buf);
        let len = read.map_err(|error| wire_error(&self.request, error.into()))?;
        count(&self.counters.bytes_in, len);
        self.following.received += len as u64;
        Ok(len)
    }

    /// Reads the whole body, which may have no more than `limit` bytes.
    pub(crate) fn read_all(&mut self, what: &str, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let too_large = || RegistryError::TooLarge {
            what: what.to_owned(),
            limit,
        };
        if self.content_length().is_some_and(|len| len > limit) {
            return Err(too_large());
        }
        let bytes = self.read_up_to(limit + 1)?;
        if bytes.len() as u64 > limit {
            return Err(too_large());
        }
        Ok(bytes)
    }

    /// Reads what is left of a small body. A large one, or one that breaks, costs its connection and nothing more.
    pub(crate) fn drain(mut self) {
        if let Err(error) = self.read_up_to(MAX_DRAIN_BYTES) {
            tracing::debug!(request = %self.request, %error, "the rest of an answer did not come");
        }
    }

    fn read_up_to(&mut self, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        let mut piece = [0; PIECE_BYTES];
        loop {
            let left = limit.saturating_sub(bytes.len() as u64);
            let len = usize::try_from(left)
                .unwrap_or(PIECE_BYTES)
                .min(PIECE_BYTES);
            match self.read(&mut piece[..len])? {
                0 => return Ok(bytes),
                read => bytes.extend_from_slice(&piece[..read]),
            }
        }
    }

    /// The error that this answer is.
    pub(crate) fn into_error(mut self) -> RegistryError {
        let retry_after = self.header("retry-after");
        let retry_after = retry_after.and_then(|v| parse_retry_after(v, SystemTime::now()));
        // Whatever can't be read explains nothing; the status is what counts.
        let body = self
            .read_all("the failure", MAX_FAILURE_BYTES)
            .unwrap_or_default();
        let message = failure_text(&body);
        let request = self.request;
        match self.status {
            401 => RegistryError::Unauthorized {
                request,
                host: self.url.origin.authority(),
            },
            403 => RegistryError::Denied { request, message },
            404 => RegistryError::NotFound { request, message },
            429 => RegistryError::TooManyRequests {
                request,
                retry_after,
            },
            status if status == 408 || status >= 500 => RegistryError::Server {
                request,
                status,
                message,
                retry_after,
            },
            status @ 400..500 => RegistryError::Refused {
                request,
                status,
                message,
            },
            status => RegistryError::BadAnswer {
                request,
                problem: format!("status {status}"),
            },
        }
    }
}

/// The span of the request. It lasts as long as the answer is read, by whom and wherever that is.
struct Following {
    span: Span,
    /// Bytes of the body that were read.
    received: u64,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.span.record("received", self.received);
    }
}
