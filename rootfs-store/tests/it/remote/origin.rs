//! A registry in memory, which may misbehave, and snapshots whose packs are only there.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rootfs_store::formats::parse_manifest;
use rootfs_store::{
    BlobDigest, Lease, Origin, OriginError, Part, Sink, SnapshotDigest, Store, StoreOptions,
};

pub(crate) const ORIGIN: &str = "registry.example:5000/labs/disk";

/// Bytes that a stream hands over at a time.
const PIECE: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Memory {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    blobs: HashMap<BlobDigest, Vec<u8>>,
    manner: Manner,
    log: Vec<Request>,
}

/// How it answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manner {
    /// Nothing can be reached.
    pub(crate) is_down: bool,
    /// So many requests fail before one works.
    pub(crate) failures: usize,
    /// It has no blob.
    pub(crate) is_empty: bool,
    pub(crate) knows_no_ranges: bool,
    /// So many answers have wrong bytes.
    pub(crate) lies: usize,
    /// Only this origin lies.
    pub(crate) liar: Option<&'static str>,
    /// So many answers are cut off in the middle.
    pub(crate) cuts: usize,
    /// So many answers are longer than they should be.
    pub(crate) excesses: usize,
    pub(crate) delay: Duration,
    /// Bytes that are handed over at a time, if not as many as usual.
    pub(crate) piece: Option<usize>,
    /// How long each of these takes.
    pub(crate) pause: Duration,
    /// So many answers end with a panic in the middle.
    pub(crate) panics: usize,
    /// Only this origin is cut off, and takes its time.
    pub(crate) only: Option<&'static str>,
}

impl Manner {
    fn is_meant(&self, origin: &str) -> bool {
        self.only.is_none_or(|only| only == origin)
    }
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) origin: String,
    pub(crate) blob: BlobDigest,
    pub(crate) range: Range<u64>,
    pub(crate) is_stream: bool,
}

/// What it sends, and how that ends.
struct Answer {
    bytes: Vec<u8>,
    cut: bool,
    panics: bool,
}

impl Memory {
    pub(crate) fn add(&self, store: &Store, digest: &BlobDigest) {
        let path = store.dir().join("blobs/sha256");
        let bytes = fs::read(path.join(&digest.to_string()[7..])).unwrap();
        self.state().blobs.insert(*digest, bytes);
    }

    pub(crate) fn behave(&self, manner: Manner) {
        self.state().manner = manner;
    }

    /// What was asked for since this was called last.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state().log)
    }

    /// Waits until it is asked for something.
    pub(crate) fn wait_for_request(&self) {
        while self.state().log.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Bytes that were asked for since anything was taken down last.
    pub(crate) fn asked_bytes(&self) -> u64 {
        let bytes = |request: Request| request.range.end - request.range.start;
        self.requests().into_iter().map(bytes).sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn answer(
        &self,
        origin: &str,
        blob: &BlobDigest,
        range: &Range<u64>,
        is_stream: bool,
    ) -> Result<Answer, OriginError> {
        let delay = self.state().manner.delay;
        std::thread::sleep(delay);
        let mut state = self.state();
        state.log.push(Request {
            origin: origin.to_owned(),
            blob: *blob,
            range: range.clone(),
            is_stream,
        });
        let manner = &mut state.manner;
        if manner.is_down || take(&mut manner.failures) {
            return Err(OriginError::transient(io::Error::from(
                io::ErrorKind::ConnectionReset,
            )));
        }
        let lies = manner.liar.is_none_or(|liar| liar == origin) && take(&mut manner.lies);
        let is_cut = manner.is_meant(origin);
        let cut = is_cut && take(&mut manner.cuts);
        let excess = take(&mut manner.excesses);
        let panics = take(&mut manner.panics);
        let is_empty = manner.is_empty;
        let Some(bytes) = state.blobs.get(blob).filter(|_| !is_empty) else {
            return Err(OriginError::permanent(io::Error::from(
                io::ErrorKind::NotFound,
            )));
        };
        let at = |at: u64| usize::try_from(at).unwrap();
        let mut bytes = bytes[at(range.start)..at(range.end)].to_vec();
        if lies {
            let third = bytes.len() / 3;
            bytes[third] ^= 0x40;
        }
        if cut {
            bytes.truncate(bytes.len() / 2);
        }
        if excess {
            bytes.push(0);
        }
        Ok(Answer { bytes, cut, panics })
    }
}

impl Memory {
    fn send(&self, origin: &str, answer: Answer, sink: Sink<'_>) -> Result<(), OriginError> {
        let bytes = answer.bytes;
        let manner = self.state().manner.clone();
        let is_meant = manner.is_meant(origin);
        let piece = manner.piece.filter(|_| is_meant);
        for (number, piece) in bytes.chunks(piece.unwrap_or(PIECE)).enumerate() {
            let is_half = number * piece.len() >= bytes.len() / 2;
            assert!(!(answer.panics && is_half), "{origin} panics");
            if is_meant {
                // It may have changed meanwhile.
                let pause = self.state().manner.pause;
                std::thread::sleep(pause);
            }
            sink(piece).map_err(|_| OriginError::stopped())?;
        }
        match answer.cut {
            true => Err(OriginError::transient(io::Error::from(
                io::ErrorKind::UnexpectedEof,
            ))),
            false => Ok(()),
        }
    }
}

fn take(count: &mut usize) -> bool {
    let is_left = *count > 0;
    *count = count.saturating_sub(1);
    is_left
}

impl Origin for Memory {
    fn read(
        &self,
        origin: &str,
        blob: &BlobDigest,
        blob_bytes: u64,
        range: Range<u64>,
        sink: Sink<'_>,
    ) -> Result<Part, OriginError> {
        assert!(range.start < range.end && range.end <= blob_bytes);
        assert!(range.end - range.start <= rootfs_store::MAX_READ_BYTES);
        if self.state().manner.knows_no_ranges {
            return Ok(Part::NoRanges);
        }
        let answer = self.answer(origin, blob, &range, false)?;
        self.send(origin, answer, sink)?;
        Ok(Part::Complete)
    }

    fn stream(
        &self,
        origin: &str,
        blob: &BlobDigest,
        blob_bytes: u64,
        range: Range<u64>,
        sink: Sink<'_>,
    ) -> Result<(), OriginError> {
        assert!(range.start < range.end && range.end <= blob_bytes);
        let answer = self.answer(origin, blob, &range, true)?;
        self.send(origin, answer, sink)
    }
}

/// Options of a store that reads from `origin`, and does not wait long.
pub(crate) fn options(origin: &Arc<Memory>) -> StoreOptions {
    StoreOptions {
        origin: Some(Arc::clone(origin) as _),
        read_patience: Duration::from_millis(400),
        ..StoreOptions::default()
    }
}

/// Puts the packs of a snapshot of `from` into the registry, and its documents into `to`, which has no packs then.
pub(crate) fn pull_lazily(
    from: &Store,
    to: &Store,
    snapshot: &SnapshotDigest,
    origin: &Memory,
) -> Result<Lease, rootfs_store::StoreError> {
    let lease = to.lease()?;
    let packs = from.snapshot(snapshot).unwrap().packs;
    packs.iter().for_each(|pack| origin.add(from, &pack.digest));
    to.add_origin(&packs, ORIGIN, &lease)?;
    let blob = |store: &Store, digest: &BlobDigest| {
        let dir = store.dir().join("blobs/sha256");
        dir.join(&digest.to_string()[7..])
    };
    let manifest = fs::read(blob(from, &(*snapshot).into())).unwrap();
    let config = parse_manifest(&manifest).unwrap().config.digest;
    for document in [config, (*snapshot).into()] {
        let copied = fs::copy(blob(from, &document), blob(to, &document));
        copied.unwrap();
    }
    Ok(lease)
}
