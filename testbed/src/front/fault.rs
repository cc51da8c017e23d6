//! What can go wrong with a request.

use std::time::Duration;

/// One way in which a [`Front`](crate::Front) treats a request badly.
///
/// Faults of the answer change nothing about answers that they don't fit: a HEAD has no body to cut, for example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Closes the connection. The registry never hears of the request.
    DropBefore,
    /// Lets the registry do it, then closes the connection: it happened, and the answer is lost.
    DropAfter,
    /// Closes both connections when so many bytes of the request's body have reached the registry.
    CutRequest(u64),
    /// Closes the connection after so many bytes of the answer's body.
    TruncateBody(u64),
    /// Flips all bits of the answer's body's byte at this place.
    CorruptBody(u64),
    /// Keeps the answer back for so long, from its first byte on.
    Stall(Duration),
    /// Sends so many bytes of the answer's body, and the rest much later.
    StallBody {
        /// How many bytes come at once.
        at: u64,
        /// How long the others take.
        pause: Duration,
    },
    /// Answers with this status. The registry never hears of the request.
    Status(u16),
    /// Lets the registry do it, and answers with this status, as a gateway does that lost the registry's answer.
    ServerError(u16),
    /// Answers 429. The registry never hears of the request.
    TooManyRequests {
        /// What `Retry-After` says.
        retry_after_s: u64,
    },
    /// Answers 401 with the registry's own challenge, as if the token had expired, or a basic one if it has none.
    Unauthorized,
    /// Serves the whole blob to a request for a range.
    IgnoreRange,
    /// Adds one to the first offset of `Content-Range`.
    WrongContentRange,
    /// Answers 416 to a request for a range.
    RangeNotSatisfiable,
    /// Adds so many bytes to `Content-Length`. The body is what it is, but no longer than that.
    LyingLength(i64),
    /// Answers 307 with this address.
    RedirectTo(String),
    /// Halves what `Range` says has arrived, in answers to uploads.
    WrongUploadRange,
    /// Answers 201 instead of 202 to a PATCH that went well.
    Patch201,
    /// Answers 405 to a PATCH.
    NoPatch,
    /// Keeps the registry from mounting a blob, so that it begins an upload instead.
    NoMount,
    /// Answers with this status (404 or 405, say) to a HEAD of a blob.
    NoHead(u16),
    /// Says in `Docker-Content-Digest` that it is something else.
    WrongDigest,
    /// Passes bodies, both ways, at this rate.
    SlowBody {
        /// At least 1.
        bytes_per_s: u64,
    },
    /// Answers just this. The registry never hears of the request.
    Answer {
        /// The status.
        status: u16,
        /// Fields of the head besides `Content-Length`.
        fields: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
}
