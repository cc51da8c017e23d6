//! Where packs are to be had that are not in the store.

use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::digest::BlobDigest;

/// What streamed bytes are handed to; an error ends the stream and is returned as [`OriginError::stopped`].
pub type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Stop>;

/// The receiver of a stream wants no more of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop;

/// Reads blobs from where they are, by a text like `registry.example:5000/labs/disk`.
///
/// Its bytes are not trusted: whoever asks verifies them. Calls come from several threads at a time, and may take as
/// long as they need, but must not wait for ever. They need not retry: the store does.
pub trait Origin: fmt::Debug + Send + Sync {
    /// Hands the bytes of `range` to `sink` as they come, in order and in pieces of any size. The range is not empty
    /// and lies in the blob of `blob_bytes`; at most [`MAX_READ_BYTES`](crate::MAX_READ_BYTES) are asked for.
    ///
    /// Where ranges are ignored, the answer is [`Part::NoRanges`].
    ///
    /// # Errors
    /// [`OriginError`]; what `sink` took stays with it, so that only the rest is asked for then.
    /// [`OriginError::stopped`] if `sink` wanted no more.
    fn read(
        &self,
        origin: &str,
        blob: &BlobDigest,
        blob_bytes: u64,
        range: Range<u64>,
        sink: Sink<'_>,
    ) -> Result<Part, OriginError>;

    /// Hands the bytes of `range` to `sink`, in order and in pieces of any size.
    ///
    /// Where ranges are ignored, what comes before the range is passed over, and the stream ends behind it.
    ///
    /// # Errors
    /// [`OriginError`]; what `sink` took stays with it. [`OriginError::stopped`] if `sink` wanted no more.
    fn stream(
        &self,
        origin: &str,
        blob: &BlobDigest,
        blob_bytes: u64,
        range: Range<u64>,
        sink: Sink<'_>,
    ) -> Result<(), OriginError>;
}

/// What an origin answers to a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All bytes of the range went to the sink.
    Complete,
    /// It would send the whole blob, whatever range it is asked for; what the sink got, if anything, is void.
    NoRanges,
}

/// Why an origin did not give what it was asked for.
#[derive(Debug, Clone)]
pub struct OriginError {
    kind: Kind,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Transient,
    Final,
    Stopped,
}

impl OriginError {
    /// It may work when it is tried again: a lost connection, say.
    #[must_use]
    pub fn transient(source: impl Error + Send + Sync + 'static) -> Self {
        Self::of(Kind::Transient, Some(Arc::new(source)))
    }

    /// It will not work: there is no such blob, say.
    #[must_use]
    pub fn permanent(source: impl Error + Send + Sync + 'static) -> Self {
        Self::of(Kind::Final, Some(Arc::new(source)))
    }

    /// The sink wanted no more.
    #[must_use]
    pub fn stopped() -> Self {
        Self::of(Kind::Stopped, None)
    }

    /// The same, with the time that the origin asks to be left alone.
    #[must_use]
    pub fn after(self, pause: Duration) -> Self {
        Self {
            retry_after: Some(pause),
            ..self
        }
    }

    fn of(kind: Kind, source: Option<Arc<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind,
            retry_after: None,
            source,
        }
    }

    /// Whether it may work when it is tried again.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.kind == Kind::Transient
    }

    /// How long the origin asked to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Transient => "it can't be reached at the moment",
            Kind::Final => "it does not give the blob",
            Kind::Stopped => "the transfer was stopped",
        })
    }
}

impl Error for OriginError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}

/// An origin sent another number of bytes than it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("it sent {found} bytes where {expected} were asked for")]
pub(super) struct WrongLength {
    pub(super) found: u64,
    pub(super) expected: u64,
}
