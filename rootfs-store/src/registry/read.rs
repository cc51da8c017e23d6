//! Blobs, whole and in parts.
//!
//! Invariant: bytes are handed on in order, each once, and none past the size that the caller knows. What they are is
//! for the caller to verify.

use std::io;
use std::ops::Range;

use ureq::http::Method;

use super::answer::Answer;
use super::client::Registry;
use super::content_range::parse_content_range;
use super::error::RegistryError;
use super::repository::{Repository, header};
use super::server_text::shown;
use super::slots::Urgency;
use super::transport::Head;
use super::tries::Tries;
use crate::digest::BlobDigest;

/// Longest range that is read at once, in bytes.
pub(crate) const MAX_RANGE_BYTES: u64 = 32 << 20;
/// Bytes that are handed on at once.
const BUFFER_BYTES: usize = 256 << 10;

/// What a registry makes of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RangeAnswer {
    /// The bytes that were asked for, all of which were handed on.
    Part,
    /// The registry would send the whole blob whatever is asked for, so it had better be read once.
    Whole,
}

/// Takes the bytes of a blob in order. A request is under way meanwhile, so a sink that itself asks the same registry
/// for something may wait for ever.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;

/// How far a blob was read.
struct Transfer<'a> {
    digest: &'a BlobDigest,
    size: u64,
    at: u64,
}

impl Repository {
    /// All of a blob that the caller knows to be small.
    ///
    /// # Errors
    /// As [`Self::read_blob`].
    pub(crate) fn blob(&self, digest: &BlobDigest, size: u64) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        self.read_blob(digest, size, 0, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// All of a blob, as [`Self::read_blob`] does it, for a sink with errors of its own.
    ///
    /// # Errors
    /// What `sink` failed with, or what `failed` makes of the error of a request.
    pub(crate) fn read_whole_blob<E>(
        &self,
        digest: &BlobDigest,
        size: u64,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), E>,
        failed: impl FnOnce(RegistryError) -> E,
    ) -> Result<(), E> {
        let mut refused = None;
        let read = self.read_blob(digest, size, 0, &mut |piece| {
            sink(piece).map_err(|error| {
                refused = Some(error);
                io::ErrorKind::Interrupted.into()
            })
        });
        match refused {
            Some(error) => Err(error),
            None => read.map_err(failed),
        }
    }

    /// Hands the bytes `from..size` of a blob to `sink`. Where a connection breaks or stalls, it goes on at the byte
    /// that was reached.
    ///
    /// # Errors
    /// [`RegistryError::WrongSize`] if the blob has another size; [`RegistryError::Local`] with what `sink` failed
    /// with; any other [`RegistryError`] of a request. Bytes that were handed on stay so.
    pub(crate) fn read_blob(
        &self,
        digest: &BlobDigest,
        size: u64,
        from: u64,
        sink: Sink<'_>,
    ) -> Result<(), RegistryError> {
        let mut transfer = Transfer {
            digest,
            size,
            at: from,
        };
        if from >= size {
            return Ok(());
        }
        for mirror in self.mirrors() {
            match self.go_on(mirror, &mut transfer, sink) {
                Ok(()) => return Ok(()),
                Err(error) if error.is_ours() => return Err(error),
                Err(error) => tracing::debug!(%error, mirror = %mirror.host, "mirror passed over"),
            }
        }
        let mut tries = Tries::new(self.client());
        loop {
            let before = transfer.at;
            match self.go_on(self.registry(), &mut transfer, sink) {
                Ok(()) => return Ok(()),
                Err(error) if self.is_tried_once() => return Err(error),
                Err(error) => {
                    if self.client().gets_on(transfer.at - before, &error) {
                        tries.got_on();
                    }
                    tries.wait(error)?;
                }
            }
        }
    }

    /// Hands a part of a blob, of at most [`MAX_RANGE_BYTES`], to `sink` as it comes.
    ///
    /// # Errors
    /// [`RegistryError::TooLarge`] for a longer range; [`RegistryError::WrongSize`] if the range is not one of the
    /// blob; [`RegistryError::Local`] with what `sink` failed with; any other [`RegistryError`] of a request. Bytes
    /// that were handed on stay so: the next registry, or attempt, is asked for the rest.
    pub(crate) fn read_range(
        &self,
        digest: &BlobDigest,
        size: u64,
        range: Range<u64>,
        sink: Sink<'_>,
    ) -> Result<RangeAnswer, RegistryError> {
        let len = range.end.saturating_sub(range.start);
        if len > MAX_RANGE_BYTES {
            return Err(RegistryError::TooLarge {
                what: format!("bytes {}..{} of blob {digest}", range.start, range.end),
                limit: MAX_RANGE_BYTES,
            });
        }
        let mut rest = range;
        self.read_anywhere(|registry| {
            if rest.is_empty() {
                return Ok(RangeAnswer::Part);
            }
            let mut answer = self.ask_blob(registry, digest, Some(&rest), Urgency::Urgent)?;
            let is_all = rest == (0..size);
            match answer.status() {
                206 => check_range(&answer, &rest, size)?,
                200 if is_all => check_length(&answer, size)?,
                200 => return Ok(RangeAnswer::Whole),
                _ => return Err(refused(answer, size)),
            }
            let mut buf = vec![0; len_within(&rest, BUFFER_BYTES)];
            while !rest.is_empty() {
                let piece = &mut buf[..len_within(&rest, BUFFER_BYTES)];
                let read = answer.read(piece)?;
                if read == 0 {
                    return Err(cut_off(&answer));
                }
                sink(&piece[..read]).map_err(not_stored(digest))?;
                rest.start += read as u64;
            }
            expect_end(&mut answer, size)?;
            Ok(RangeAnswer::Part)
        })
    }

    /// Reads from where the transfer stands as far as one connection gets.
    fn go_on(
        &self,
        registry: &Registry,
        transfer: &mut Transfer<'_>,
        sink: Sink<'_>,
    ) -> Result<(), RegistryError> {
        let wanted = transfer.at..transfer.size;
        let range = (transfer.at > 0).then_some(&wanted);
        let mut answer = self.ask_blob(registry, transfer.digest, range, Urgency::Background)?;
        // Where the body begins.
        let mut at = match answer.status() {
            206 => {
                check_range(&answer, &wanted, transfer.size)?;
                transfer.at
            }
            // The registry does not know ranges, so what is there already comes again.
            200 => {
                check_length(&answer, transfer.size)?;
                0
            }
            _ => return Err(refused(answer, transfer.size)),
        };
        let mut buf = vec![0; BUFFER_BYTES];
        while at < transfer.size {
            let len = len_within(&(at..transfer.size), BUFFER_BYTES);
            let read = answer.read(&mut buf[..len])?;
            if read == 0 {
                return Err(cut_off(&answer));
            }
            let end = at + read as u64;
            if end > transfer.at {
                let known = usize::try_from(transfer.at - at.min(transfer.at)).unwrap_or(read);
                sink(&buf[known..read]).map_err(not_stored(transfer.digest))?;
                transfer.at = end;
            }
            at = end;
        }
        // All is there, whatever becomes of the connection; but a blob that is longer is another one.
        expect_end(&mut answer, transfer.size)
    }

    fn ask_blob(
        &self,
        registry: &Registry,
        digest: &BlobDigest,
        range: Option<&Range<u64>>,
        urgency: Urgency,
    ) -> Result<Answer, RegistryError> {
        let mut head = Head::new(Method::GET);
        head.urgency = urgency;
        if let Some(range) = range {
            let value = format!("bytes={}-{}", range.start, range.end - 1);
            head.headers.push((header("range"), value));
        }
        let url = self.url(registry, &format!("blobs/{digest}"))?;
        self.ask(registry, &head, &url)
    }
}

/// Makes sure that a partial answer has what was asked for.
fn check_range(answer: &Answer, wanted: &Range<u64>, size: u64) -> Result<(), RegistryError> {
    let sent = answer.header("content-range").unwrap_or_default();
    match parse_content_range(sent) {
        Some(range) if range.size.is_some_and(|found| found != size) => {
            Err(wrong_size(answer.request(), size, shown(sent)))
        }
        Some(range) if range.bytes == *wanted => Ok(()),
        _ => Err(RegistryError::BadAnswer {
            request: answer.request().to_owned(),
            problem: format!(
                "it has `{}` instead of bytes {}-{}",
                shown(sent),
                wanted.start,
                wanted.end - 1
            ),
        }),
    }
}

fn check_length(answer: &Answer, size: u64) -> Result<(), RegistryError> {
    match answer.content_length() {
        Some(found) if found != size => Err(wrong_size(answer.request(), size, found.to_string())),
        _ => Ok(()),
    }
}

/// Makes sure that no byte follows.
fn expect_end(answer: &mut Answer, size: u64) -> Result<(), RegistryError> {
    match answer.read(&mut [0]) {
        Ok(1..) => Err(wrong_size(answer.request(), size, "more".to_owned())),
        _ => Ok(()),
    }
}

/// Length of a range, or `most` if that is less.
fn len_within(range: &Range<u64>, most: usize) -> usize {
    usize::try_from(range.end - range.start).map_or(most, |len| len.min(most))
}

/// The error for bytes that a sink did not take.
fn not_stored(digest: &BlobDigest) -> impl FnOnce(io::Error) -> RegistryError {
    let digest = *digest;
    move |source| RegistryError::Local {
        action: "store",
        digest,
        source,
    }
}

/// The error for an answer that has no bytes of a blob.
fn refused(answer: Answer, size: u64) -> RegistryError {
    match answer.status() {
        416 => {
            let sent = answer.header("content-range").map(shown);
            let found = sent.unwrap_or_else(|| "fewer".to_owned());
            wrong_size(answer.request(), size, found)
        }
        _ => answer.into_error(),
    }
}

fn wrong_size(request: &str, expected: u64, found: String) -> RegistryError {
    RegistryError::WrongSize {
        request: request.to_owned(),
        expected,
        found,
    }
}

fn cut_off(answer: &Answer) -> RegistryError {
    RegistryError::Connection {
        request: answer.request().to_owned(),
        source: io::ErrorKind::UnexpectedEof.into(),
    }
}

#[cfg(test)]
mod tests;
