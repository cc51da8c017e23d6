//! Uploads of blobs.
//!
//! Invariant: an upload succeeds only if the registry confirmed the blob under its digest: by its answer to the last
//! request, or, if that answer was lost, by having a blob of that digest and size.

mod session;

use std::time::Duration;

use ureq::http::Method;

use super::answer::Answer;
use super::body::{Body, Part, ReadAt};
use super::error::RegistryError;
use super::repository::{Repository, header};
use super::transport::Head;
use super::tries::Tries;
use super::url::Url;
use crate::digest::BlobDigest;
use session::Session;

/// Blobs up to this many bytes go in one request; larger ones in chunks of at least so many.
const CHUNK_BYTES: u64 = 64 << 20;
/// What registries are believed to check and move at the end of an upload at least, in bytes each second. None of it
/// shows on the connection, and whoever gives up too early has to send all of it again.
const FINISH_BYTES_PER_SECOND: u64 = 16 << 20;
const OCTETS: &str = "application/octet-stream";

/// An upload under way.
struct Upload<'a> {
    repository: &'a Repository,
    digest: &'a BlobDigest,
    size: u64,
    read_at: ReadAt<'a>,
    progress: &'a mut dyn FnMut(u64),
    chunk: u64,
    session: Option<Session>,
    /// Whether the registry takes blobs in one piece only.
    takes_whole_only: bool,
    /// Whether the registry was asked to make a blob of what it got, and the answer did not come.
    may_be_done: bool,
    /// Whether something went wrong already, so that it is worth to ask before bytes are sent.
    is_careful: bool,
}

/// Why an upload stopped.
enum Stopped {
    /// As any request may.
    Failed(RegistryError),
    /// The registry forgot the upload, or can't go on with it; another one may succeed.
    Lost(RegistryError),
}

impl From<RegistryError> for Stopped {
    fn from(error: RegistryError) -> Self {
        Self::Failed(error)
    }
}

impl Repository {
    /// Uploads a blob of `size` bytes, which `read_at` fills buffers with, from any offset and possibly more than
    /// once. After a failure the upload goes on at what the registry has, or else from the start.
    ///
    /// `progress` is told the offset up to which bytes were sent; it goes back when bytes have to be sent again.
    ///
    /// # Errors
    /// [`RegistryError::Local`] with what `read_at` failed with; [`RegistryError::Refused`] if the bytes don't have
    /// that digest; any other [`RegistryError`] of a request. The registry then has no such blob, as far as we know.
    pub(crate) fn upload(
        &self,
        digest: &BlobDigest,
        size: u64,
        read_at: ReadAt<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), RegistryError> {
        self.upload_in_chunks(digest, size, read_at, progress, CHUNK_BYTES)
    }

    /// Uploads a blob in chunks of at least `chunk` bytes if it has more than so many.
    fn upload_in_chunks(
        &self,
        digest: &BlobDigest,
        size: u64,
        read_at: ReadAt<'_>,
        progress: &mut dyn FnMut(u64),
        chunk: u64,
    ) -> Result<(), RegistryError> {
        let mut upload = Upload {
            repository: self,
            digest,
            size,
            read_at,
            progress,
            chunk,
            session: None,
            takes_whole_only: false,
            may_be_done: false,
            is_careful: false,
        };
        let mut tries = Tries::new(self.client());
        let mut reached = 0;
        loop {
            let stopped = match upload.go_on() {
                Ok(()) => return Ok(()),
                Err(stopped) => stopped,
            };
            let offset = upload.session.as_ref().map_or(0, |session| session.offset);
            if offset > reached {
                reached = offset;
                tries.got_on();
            }
            upload.is_careful = true;
            match stopped {
                Stopped::Failed(error) => {
                    tries.wait(error)?;
                    if let Some(session) = &mut upload.session {
                        session.is_doubtful = true;
                    }
                }
                Stopped::Lost(error) => {
                    tries.wait_anyway(error)?;
                    upload.session = None;
                }
            }
        }
    }
}

impl Upload<'_> {
    /// Does what is left to do, as far as it gets.
    fn go_on(&mut self) -> Result<(), Stopped> {
        if self.may_be_done {
            let size = self.repository.blob_size_once(self.digest)?;
            if size == Some(self.size) {
                return Ok(());
            }
            self.may_be_done = false;
        }
        let mut session = self.session()?;
        let is_small = self.size <= self.chunk && session.offset == 0;
        let done = if is_small || self.takes_whole_only {
            self.put(&mut session, 0..self.size)
        } else {
            self.chunks(&mut session)
        };
        // Kept for the next attempt.
        self.session = Some(session);
        done
    }

    /// The upload to go on with: the one that is under way, or a new one.
    fn session(&mut self) -> Result<Session, RegistryError> {
        let Some(mut session) = self.session.take() else {
            return Session::start(self.repository, self.size, self.chunk);
        };
        if !session.is_doubtful {
            return Ok(session);
        }
        match session.ask(self.repository) {
            // What has to come whole can only come again.
            Ok(true) if session.offset == 0 || !self.takes_whole_only => Ok(session),
            Ok(_) => Session::start(self.repository, self.size, self.chunk),
            Err(error) => {
                // The question can be asked again.
                self.session = Some(session);
                Err(error)
            }
        }
    }

    /// Sends what is left in chunks, and ends the upload.
    fn chunks(&mut self, session: &mut Session) -> Result<(), Stopped> {
        while session.offset < self.size {
            let from = session.offset;
            let end = self.size.min(from.saturating_add(session.chunk));
            let mut head = Head::new(Method::PATCH);
            head.headers
                .push((header("content-range"), format!("{from}-{}", end - 1)));
            let url = session.url.clone();
            let answer = self.send(session, head, &url, from..end)?;
            match answer.status() {
                200..300 => {}
                // There are registries that know no chunks, and say so in many ways.
                400 | 404 | 405 | 411 | 415 | 416 | 501 if from == 0 => {
                    answer.drain();
                    self.takes_whole_only = true;
                    *session = Session::start(self.repository, self.size, self.chunk)?;
                    return self.put(session, 0..self.size);
                }
                // The registry has something else than we believe, or nothing any more.
                400 | 404 | 416 => return Err(Stopped::Lost(answer.into_error())),
                _ => return Err(Stopped::Failed(answer.into_error())),
            }
            // Registries that leave it out go on where they are. What they say of the range can't be relied upon.
            if answer.header("location").is_some() {
                session.url = self.repository.client().location(&answer)?;
            }
            answer.drain();
            session.offset = end;
        }
        self.put(session, self.size..self.size)
    }

    /// Sends the last bytes, or all or none, and has the registry make a blob of all that it got.
    fn put(&mut self, session: &mut Session, bytes: std::ops::Range<u64>) -> Result<(), Stopped> {
        let url = session.url.clone();
        let url = url.with_parameter("digest", &self.digest.to_string());
        self.may_be_done = true;
        let mut head = Head::new(Method::PUT);
        head.further_wait = Duration::from_secs(self.size / FINISH_BYTES_PER_SECOND);
        let answer = self.send(session, head, &url, bytes)?;
        let status = answer.status();
        self.may_be_done = status >= 500 || status == 404;
        match status {
            200..300 => {
                answer.drain();
                Ok(())
            }
            404 => Err(Stopped::Lost(answer.into_error())),
            // What we went on with may not have been what the registry had.
            400 | 416 if session.is_resumed => Err(Stopped::Lost(answer.into_error())),
            _ => Err(Stopped::Failed(answer.into_error())),
        }
    }

    fn send(
        &mut self,
        session: &mut Session,
        mut head: Head,
        url: &Url,
        bytes: std::ops::Range<u64>,
    ) -> Result<Answer, RegistryError> {
        head.content_type = Some(OCTETS.to_owned());
        head.waits_for_consent = self.is_careful;
        session.sent = session.sent.max(bytes.end);
        let part = Part {
            digest: *self.digest,
            from: bytes.start,
            len: bytes.end - bytes.start,
            read_at: self.read_at,
            progress: self.progress,
        };
        self.repository.change(&head, url, &mut Body::Part(part))
    }
}

#[cfg(test)]
mod tests;
