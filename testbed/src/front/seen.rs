//! What a front remembers of requests.

use std::sync::{Arc, Mutex, PoisonError};

use super::Fault;
use super::request::Request;

/// A request, and what became of it so far.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// Its place in the log, from 0.
    pub number: u64,
    /// Which connection it came by, from 0.
    pub connection: u64,
    /// `GET`, `HEAD`, ….
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query, without its question mark.
    pub query: Option<String>,
    /// The field `Range`.
    pub range: Option<String>,
    /// The field `Content-Range`.
    pub content_range: Option<String>,
    /// The field `Content-Length`.
    pub content_length: Option<u64>,
    /// Whether there was a field `Authorization`.
    pub authorized: bool,
    /// Bytes of the request's body that arrived.
    pub from_client: u64,
    /// Bytes of the answer's body that were sent.
    pub to_client: u64,
    /// The status that the client was told, if it was.
    pub status: Option<u16>,
    /// What was done to it.
    pub fault: Option<Fault>,
}

impl Seen {
    /// Whether this is about a blob that exists, and not about an upload.
    pub fn is_blob(&self) -> bool {
        self.path.contains("/blobs/sha256:")
    }

    /// Whether this belongs to the upload of a blob.
    pub fn is_upload(&self) -> bool {
        self.path.contains("/blobs/uploads/")
    }

    /// Whether this is about a manifest.
    pub fn is_manifest(&self) -> bool {
        self.path.contains("/manifests/")
    }

    fn of(request: &Request, number: u64, connection: u64) -> Self {
        let head = &request.head;
        let field = |name| head.get(name).map(str::to_owned);
        let (path, query) = match request.target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (request.target.as_str(), None),
        };
        Self {
            number,
            connection,
            method: request.method.clone(),
            path: path.to_owned(),
            query,
            range: field("range"),
            content_range: field("content-range"),
            content_length: head
                .get("content-length")
                .and_then(|value| value.parse().ok()),
            authorized: head.get("authorization").is_some(),
            from_client: 0,
            to_client: 0,
            status: None,
            fault: None,
        }
    }
}

/// A request in the log, while it is still going on.
#[derive(Debug, Clone)]
pub(super) struct Entry(Arc<Mutex<Seen>>);

impl Entry {
    pub(super) fn update(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn seen(&self) -> Seen {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }
}

/// All requests since the log was last cleared, in the order that they came.
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<Vec<Entry>>);

impl Log {
    pub(super) fn begin(&self, request: &Request, connection: u64) -> Entry {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = Seen::of(request, entries.len() as u64, connection);
        let entry = Entry(Arc::new(Mutex::new(seen)));
        entries.push(entry.clone());
        entry
    }

    pub(super) fn all(&self) -> Vec<Seen> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(Entry::seen).collect()
    }

    pub(super) fn clear(&self) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.clear();
    }
}
