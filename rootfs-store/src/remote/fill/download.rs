//! Streams of what is missing of a pack, hashed while they come.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use super::super::cache::CacheFile;
use super::super::counters::add;
use super::super::origin::Stop;
use super::super::pack::Failure;
use super::super::patience::Patience;
use super::super::ranges::Ranges;
use super::super::{RemoteError, RemotePack};
use super::Fill;
use super::hash::{Arrivals, Ending};
use crate::blobs::Writeback;
use crate::digest::BlobDigest;
use crate::store::StoreError;

/// Bytes that are gathered before they are written.
const PIECE_BYTES: usize = 256 << 10;
/// What was found in a file when it was opened may begin and end anywhere in its first and last block of so many bytes.
const BLOCK_BYTES: u64 = 4096;
/// Less than this between two gaps is fetched again, rather than asked for around.
const ISLAND_BYTES: u64 = 256 << 10;

impl Fill<'_> {
    /// Fetches what is missing of a pack, of which so many bytes were `told`; returns the digest of all of its bytes.
    pub(super) fn fetch_and_hash(
        &self,
        remote: &RemotePack,
        round: usize,
        told: u64,
    ) -> Result<BlobDigest, StoreError> {
        let cache = remote.cache_to_fill()?;
        let gaps = gaps(&remote.here(), remote.bytes);
        let mut there = Ranges::default();
        there.insert(0..remote.bytes);
        gaps.iter().for_each(|gap| there.remove(gap));
        if round == 0 {
            self.add_done(there.bytes().saturating_sub(told));
        }
        let arrivals = Arrivals::new(there);
        let (fetched, hashed) = thread::scope(|scope| {
            let hash = || arrivals.hash(&cache, remote.bytes);
            let hasher = thread::Builder::new().name("hash".to_owned());
            let hasher = hasher.spawn_scoped(scope, hash);
            // Ends what is hashed, if this panics, too.
            let ending = Ending(&arrivals);
            let fetched = self.fetch_gaps(remote, &cache, gaps, &arrivals, round);
            drop(ending);
            let hashed = match (&fetched, hasher) {
                (_, Ok(hasher)) => hasher
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                // The host gives no thread: one after the other will do.
                (Ok(()), Err(_)) => hash(),
                (Err(_), Err(_)) => Ok(None),
            };
            (fetched, hashed)
        });
        fetched?;
        let hashed = hashed.map_err(|error| remote.cache_error("read", error))?;
        hashed.ok_or_else(|| {
            let error = io::ErrorKind::UnexpectedEof.into();
            remote.cache_error("read", error)
        })
    }

    fn fetch_gaps(
        &self,
        remote: &RemotePack,
        cache: &Arc<CacheFile>,
        gaps: Vec<Range<u64>>,
        arrivals: &Arrivals,
        round: usize,
    ) -> Result<(), StoreError> {
        let mut writer = Writer {
            fill: self,
            remote,
            cache,
            arrivals,
            writeback: Writeback::new(),
            pending: Vec::with_capacity(PIECE_BYTES),
            at: 0,
            written: 0,
        };
        for gap in gaps {
            self.fetch_gap(&mut writer, gap, round)?;
        }
        let finished = writer.writeback.finish();
        finished.map_err(|error| remote.cache_error("sync", error))
    }

    /// Streams a gap, from where it was cut off if that happens.
    fn fetch_gap(
        &self,
        writer: &mut Writer<'_>,
        gap: Range<u64>,
        round: usize,
    ) -> Result<(), StoreError> {
        let (remote, begun) = (writer.remote, Instant::now());
        let mut patience = Patience::new(remote.access.patience);
        writer.at = gap.start;
        for turn in round.. {
            if self.is_cancelled() {
                return Err(RemoteError::Cancelled.into());
            }
            let origins = remote.origins();
            let origin = &origins[turn % origins.len()];
            let is_last = (turn + 1 - round).is_multiple_of(origins.len());
            let begins = writer.at;
            let error = match self.stream(writer, origin, begins..gap.end)? {
                Ok(()) => break,
                Err(_) if self.is_cancelled() => return Err(RemoteError::Cancelled.into()),
                Err(error) => error,
            };
            patience.took(writer.at - begins);
            let is_final = !error.is_transient();
            let (pack, cause) = (remote.digest, std::error::Error::source(&error));
            tracing::warn!(%pack, %origin, %error, ?cause, "could not fetch");
            // All are asked before it is waited, and before it is given up.
            let goes_on = !is_last || !is_final && patience.pause(error.retry_after());
            if !goes_on {
                let failure = Failure {
                    origin: origin.clone(),
                    error,
                    is_final,
                };
                return Err(remote.failed(failure, begun).into());
            }
            add(&remote.access.counters.retries, u64::from(is_last));
        }
        Ok(())
    }

    /// Streams a range; an error of the store, or of the caller, is no error of the origin.
    fn stream(
        &self,
        writer: &mut Writer<'_>,
        origin: &str,
        range: Range<u64>,
    ) -> Result<Result<(), super::super::OriginError>, StoreError> {
        let remote = writer.remote;
        let access = &remote.access.origin;
        let mut stopped = None;
        let streamed = remote.stream(&**access, origin, range, &mut |_, piece| {
            writer.take(piece).map_err(|error| {
                stopped = Some(error);
                Stop
            })
        });
        match stopped {
            Some(error) => return Err(error),
            None => writer.flush()?,
        }
        Ok(streamed)
    }
}

/// Writes a stream to the file of its pack.
struct Writer<'a> {
    fill: &'a Fill<'a>,
    remote: &'a RemotePack,
    cache: &'a Arc<CacheFile>,
    arrivals: &'a Arrivals,
    writeback: Writeback,
    /// What came and was not written yet.
    pending: Vec<u8>,
    /// Where the first byte of it goes.
    at: u64,
    written: u64,
}

impl Writer<'_> {
    fn take(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        self.pass(piece.len());
        self.pending.extend_from_slice(piece);
        if self.fill.is_cancelled() {
            self.flush()?;
            return Err(RemoteError::Cancelled.into());
        }
        match self.pending.len() >= PIECE_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Waits as the pace says that holds now, or a faster one that somebody brings meanwhile.
    fn pass(&self, bytes: usize) {
        let (turns, own) = (&self.remote.turns, &self.fill.pace);
        let pace = turns.fastest(own);
        let is_outpaced = || !Arc::ptr_eq(&turns.fastest(own), &pace);
        pace.pass(bytes, || self.fill.is_cancelled() || is_outpaced());
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let len = self.pending.len() as u64;
        if len == 0 {
            return Ok(());
        }
        let written = self.cache.write(&self.pending, self.at);
        self.written += len;
        let written = written.and_then(|()| self.writeback.advance(self.cache.get(), self.written));
        self.pending.clear();
        written.map_err(|error| self.remote.cache_error("write", error))?;
        self.remote.arrive(self.at..self.at + len);
        self.arrivals.add(self.at..self.at + len);
        self.at += len;
        self.fill.fetched.fetch_add(len, Ordering::Relaxed);
        self.fill.add_done(len);
        Ok(())
    }
}

/// What is to be fetched of a pack of which `here` may be in its file.
fn gaps(here: &Ranges, bytes: u64) -> Vec<Range<u64>> {
    let mut there = Ranges::default();
    for range in here.iter() {
        let start = match range.start {
            0 => 0,
            start => start + BLOCK_BYTES,
        };
        let end = match range.end {
            end if end == bytes => end,
            end => end.saturating_sub(BLOCK_BYTES),
        };
        if start == 0 && end == bytes || end.saturating_sub(start) >= ISLAND_BYTES {
            there.insert(start..end);
        }
    }
    there.missing(0..bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const BYTES: u64 = 10 * MIB;

    fn gaps_of(here: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let mut ranges = Ranges::default();
        here.iter()
            .for_each(|(start, end)| ranges.insert(*start..*end));
        let gaps = gaps(&ranges, BYTES).into_iter();
        gaps.map(|gap| (gap.start, gap.end)).collect()
    }

    #[test]
    fn gaps_are_all_that_is_not_surely_here() {
        assert_eq!(gaps_of(&[]), [(0, BYTES)]);
        assert_eq!(gaps_of(&[(0, BYTES)]), []);
        let found = gaps_of(&[(0, MIB), (2 * MIB, 3 * MIB), (9 * MIB, BYTES)]);
        let block = BLOCK_BYTES;
        let expected = [
            (MIB - block, 2 * MIB + block),
            (3 * MIB - block, 9 * MIB + block),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn small_islands_are_fetched_again() {
        assert_eq!(gaps_of(&[(MIB, MIB + 50_000)]), [(0, BYTES)]);
    }
}
