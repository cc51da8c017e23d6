//! What goes wrong between us and a registry.
//!
//! Invariant: no message holds a password, a token or the query of a URL; texts of registries are bounded and printable.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::digest::{BlobDigest, DigestError};

/// Why a registry could not be used.
///
/// `request` is the method and the URL without its query.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A file with certificates could not be read.
    #[error("could not read the certificates in {path}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A file that should hold certificates in PEM form holds none.
    #[error("{path} holds no certificate in PEM form")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The proxy's address can't be used. It is not shown, as it may hold a password.
    #[error("the proxy's address is no URL of an HTTP proxy")]
    BadProxy,
    /// A text is no name of a registry.
    #[error("`{host}` is no registry: write HOST or HOST:PORT")]
    BadHost {
        /// The text as given.
        host: String,
    },
    /// A text is no name of a repository, a tag or a digest.
    #[error("`{name}` can name nothing in a registry")]
    BadName {
        /// The text as given.
        name: String,
    },
    /// The credentials of a registry could not be looked up.
    #[error("could not get the credentials for {host}: {problem}")]
    Credentials {
        /// The registry.
        host: String,
        /// What went wrong.
        problem: &'static str,
    },
    /// No connection could be made, or it broke.
    #[error("{request}: the connection failed")]
    Connection {
        /// The request.
        request: String,
        /// What went wrong.
        source: io::Error,
    },
    /// The TLS handshake failed.
    #[error(
        "{request}: TLS failed; a registry without TLS must be listed for plain HTTP, one with a private CA needs its certificate"
    )]
    Tls {
        /// The request.
        request: String,
        /// What went wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Plain HTTP was asked for by a redirect, an upload's address or a token realm, but not allowed for the host.
    #[error("{request}: plain HTTP to {host} is not allowed; list it for plain HTTP to allow it")]
    PlainHttp {
        /// The request that was answered so.
        request: String,
        /// The host.
        host: String,
    },
    /// No byte came or went for as long as a connection may be idle.
    #[error("{request}: timed out")]
    TimedOut {
        /// The request.
        request: String,
    },
    /// A request went or its answer came too slowly, see [`RegistryOptions::least_rate`](crate::RegistryOptions::least_rate).
    #[error("{request}: only {bytes} bytes passed in {time:?}")]
    TooSlow {
        /// The request.
        request: String,
        /// Bytes that did.
        bytes: u64,
        /// How long was waited for them.
        time: Duration,
    },
    /// Another part of the same transfer failed, or it was cancelled, so nobody waits for it any more.
    #[error("{request}: nobody waits for it any more")]
    Cancelled {
        /// The request.
        request: String,
    },
    /// The proxy made no connection to the registry.
    #[error("{request}: the proxy refused: {problem}")]
    Proxy {
        /// The request.
        request: String,
        /// What it says.
        problem: String,
    },
    /// Other requests to the registry kept one waiting for too long that somebody waits for.
    #[error(
        "{request}: not sent, as in {} seconds none of the other requests to the registry has ended",
        waited.as_secs()
    )]
    Busy {
        /// The request.
        request: String,
        /// How long it waited.
        waited: Duration,
    },
    /// What came is no answer of a registry.
    #[error("{request}: the answer makes no sense: {problem}")]
    BadAnswer {
        /// The request.
        request: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The registry wants credentials, or other ones.
    #[error("{request}: not authorized; try `docker login {host}`")]
    Unauthorized {
        /// The request.
        request: String,
        /// The registry.
        host: String,
    },
    /// The registry knows us, and says no.
    #[error("{request}: denied{message}")]
    Denied {
        /// The request.
        request: String,
        /// What the registry says, after a colon.
        message: String,
    },
    /// The registry has no such manifest, blob or repository.
    #[error("{request}: not found{message}")]
    NotFound {
        /// The request.
        request: String,
        /// What the registry says, after a colon.
        message: String,
    },
    /// The registry asks for a pause.
    #[error("{request}: too many requests")]
    TooManyRequests {
        /// The request.
        request: String,
        /// How long the registry asks to wait.
        retry_after: Option<Duration>,
    },
    /// The registry or something in front of it failed.
    #[error("{request}: the server failed with status {status}{message}")]
    Server {
        /// The request.
        request: String,
        /// The HTTP status.
        status: u16,
        /// What the registry says, after a colon.
        message: String,
        /// How long the registry asks to wait.
        retry_after: Option<Duration>,
    },
    /// The registry refused the request.
    #[error("{request}: refused with status {status}{message}")]
    Refused {
        /// The request.
        request: String,
        /// The HTTP status.
        status: u16,
        /// What the registry says, after a colon.
        message: String,
    },
    /// More bytes than are read, or sent, at once.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What it is.
        what: String,
        /// The most that it may have, in bytes.
        limit: u64,
    },
    /// A blob has another size than it should have.
    #[error("{request}: the registry has {found} where {expected} bytes should be")]
    WrongSize {
        /// The request.
        request: String,
        /// What it should have, in bytes.
        expected: u64,
        /// What the registry says.
        found: String,
    },
    /// The bytes, or what the registry calls them, are not what was asked for.
    #[error("{request}: the digest is {found}, not {expected}")]
    DigestMismatch {
        /// The request.
        request: String,
        /// The digest that was asked for, or is right.
        expected: BlobDigest,
        /// What came instead.
        found: BlobDigest,
    },
    /// The registry sent a text that is no digest that we know.
    #[error("{request}: the registry sent a bad digest")]
    BadDigest {
        /// The request.
        request: String,
        /// What is wrong with it.
        source: DigestError,
    },
    /// The manifest is none of those that are read here.
    #[error("{request}: `{found}` is no media type of an image manifest or an index")]
    MediaType {
        /// The request.
        request: String,
        /// The media type that came.
        found: String,
    },
    /// The registry points to an address that can't be used, or that leads in circles.
    #[error("{request}: the registry points to an address that can't be used")]
    BadLocation {
        /// The request that was answered so.
        request: String,
    },
    /// The registry wants credentials in no way that we know.
    #[error("{request}: the registry asks for credentials in no way that is known here")]
    BadChallenge {
        /// The request.
        request: String,
    },
    /// The bytes to send could not be read here, or the bytes received not be stored.
    #[error("could not {action} blob {digest}")]
    Local {
        /// `read` or `store`.
        action: &'static str,
        /// The blob.
        digest: BlobDigest,
        /// What went wrong.
        source: io::Error,
    },
    /// A request failed as often as it may.
    #[error("gave up after {attempts} attempts")]
    GaveUp {
        /// How often it was tried.
        attempts: u32,
        /// Why the last attempt failed.
        source: Box<RegistryError>,
    },
}

impl RegistryError {
    /// Whether the same request may well succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connection { .. }
            | Self::TimedOut { .. }
            | Self::TooSlow { .. }
            | Self::Busy { .. }
            | Self::BadAnswer { .. }
            | Self::TooManyRequests { .. }
            | Self::Server { .. } => true,
            Self::GaveUp { source, .. } => source.is_transient(),
            _ => false,
        }
    }

    /// Whether it has nothing to do with a registry, so that it would be the same with any.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Local { .. } | Self::Cancelled { .. })
    }

    /// Whether the registry says that it has no such thing.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::NotFound { .. } => true,
            Self::GaveUp { source, .. } => source.is_not_found(),
            _ => false,
        }
    }

    /// How long the registry asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { retry_after, .. } | Self::Server { retry_after, .. } => {
                *retry_after
            }
            _ => None,
        }
    }
}
