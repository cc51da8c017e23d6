//! From a blob to its plain tar stream: one thread reads, hashes and decompresses, a second hashes the plain bytes,
//! the caller applies them.
//!
//! Invariant: nothing is reported as unpacked before blob and plain stream were hashed to their ends.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::error::TreeError;
use crate::image::{BlobPlace, Compression, Download, HexDigest, Layer};
use crate::progress::{Progress, Stage};

/// Bytes of one buffer that moves from thread to thread.
const BUFFER_BYTES: usize = 256 << 10;
/// Buffers in flight between two threads.
const QUEUE_BUFFERS: usize = 8;
/// Bytes read from a blob at once.
const READ_BYTES: usize = 128 << 10;

/// What all layers together have used up.
pub(super) struct Budget<'a> {
    progress: &'a dyn Progress,
    total_bytes: u64,
    done_bytes: u64,
    unpacked_limit: u64,
    unpacked_bytes: u64,
}

impl<'a> Budget<'a> {
    pub(super) fn new(total_bytes: u64, unpacked_limit: u64, progress: &'a dyn Progress) -> Self {
        Self {
            progress,
            total_bytes,
            done_bytes: 0,
            unpacked_limit,
            unpacked_bytes: 0,
        }
    }
}

impl Budget<'_> {
    /// Bytes of the plain streams so far.
    pub(super) fn unpacked_bytes(&self) -> u64 {
        self.unpacked_bytes
    }
}

/// Hands the plain stream of `layer` to `apply` and verifies all that its descriptor and config promise.
///
/// A blob that is not authentic is reported as such, rather than by whatever fault its bytes caused first.
pub(super) fn unpack(
    layer: &Layer,
    budget: &mut Budget<'_>,
    apply: impl FnOnce(PlainStream) -> Result<(), TreeError>,
) -> Result<(), TreeError> {
    let (unpacked_sender, unpacked) = bounded(QUEUE_BUFFERS);
    let (hashed_sender, hashed) = bounded(QUEUE_BUFFERS);
    // Has room for every buffer there can be, so giving one back never waits.
    let (used_sender, used) = bounded(3 * QUEUE_BUFFERS);
    let no_thread = |source| TreeError::Thread { source };
    let (read, diff_id, applied) = thread::scope(|scope| {
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        let read = || read_blob(layer, budget, unpacked_sender, &used);
        let reader = named("layer").spawn_scoped(scope, read);
        let reader = reader.map_err(no_thread)?;
        let hasher = named("diff-id").spawn_scoped(scope, || hash(unpacked, hashed_sender));
        let hasher = hasher.map_err(no_thread)?;
        let applied = apply(PlainStream {
            buffers: hashed,
            used: used_sender,
            current: Vec::new(),
            position: 0,
        });
        Ok((join(reader), join(hasher), applied))
    })?;
    read?;
    applied?;
    if diff_id != layer.diff_id {
        return Err(TreeError::DiffIdMismatch {
            layer: layer.name().to_owned(),
            expected: layer.diff_id.clone(),
            actual: diff_id,
        });
    }
    Ok(())
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The plain bytes of a layer; ends early if the blob is faulty, which [`unpack`] then reports.
pub(super) struct PlainStream {
    buffers: Receiver<Vec<u8>>,
    used: Sender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
}

impl BufRead for PlainStream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.position == self.current.len() {
            let Ok(next) = self.buffers.recv() else {
                return Ok(&[]);
            };
            let used = std::mem::replace(&mut self.current, next);
            self.position = 0;
            // A buffer that nobody wants back is freed.
            let _ = self.used.try_send(used);
        }
        Ok(&self.current[self.position..])
    }

    fn consume(&mut self, len: usize) {
        self.position += len;
    }
}

impl Read for PlainStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.fill_buf()?.read(buf)?;
        self.consume(len);
        Ok(len)
    }
}

/// Hashes buffers on their way; returns the `sha256:…` of them all.
fn hash(buffers: Receiver<Vec<u8>>, next: Sender<Vec<u8>>) -> String {
    let mut hasher = Sha256::new();
    for buffer in buffers {
        hasher.update(&buffer);
        if next.send(buffer).is_err() {
            break;
        }
    }
    format!("sha256:{:x}", HexDigest(hasher.finalize().into()))
}

fn read_blob(
    layer: &Layer,
    budget: &mut Budget<'_>,
    next: Sender<Vec<u8>>,
    used: &Receiver<Vec<u8>>,
) -> Result<(), TreeError> {
    let read_error = |source| TreeError::ReadBlob {
        layer: layer.name().to_owned(),
        path: layer.place.path().to_owned(),
        source,
    };
    let mut blob = Blob {
        bytes: BlobBytes::open(layer).map_err(read_error)?,
        hasher: layer.digest.as_ref().map(|_| Sha256::new()),
        len: 0,
        progress: budget.progress,
        done_before: budget.done_bytes,
        total: budget.total_bytes,
    };
    let unpacked = send_plain(layer, &mut blob, budget, &next, used);
    drop(next);
    // What the decompressor did not want still counts for the digest.
    io::copy(&mut blob, &mut io::sink()).map_err(read_error)?;
    verify(layer, blob)?;
    budget.done_bytes += layer.size;
    unpacked
}

fn verify(layer: &Layer, blob: Blob<'_>) -> Result<(), TreeError> {
    if blob.len != layer.size {
        return Err(TreeError::SizeMismatch {
            layer: layer.name().to_owned(),
            expected: layer.size,
            actual: blob.len,
        });
    }
    let (Some(expected), Some(hasher)) = (&layer.digest, blob.hasher) else {
        return Ok(());
    };
    let actual = format!("sha256:{:x}", HexDigest(hasher.finalize().into()));
    if actual != *expected {
        return Err(TreeError::DigestMismatch {
            layer: expected.clone(),
            actual,
        });
    }
    Ok(())
}

/// Decompresses and sends until the end, the first fault, or until nobody listens any more.
fn send_plain(
    layer: &Layer,
    blob: &mut Blob<'_>,
    budget: &mut Budget<'_>,
    next: &Sender<Vec<u8>>,
    used: &Receiver<Vec<u8>>,
) -> Result<(), TreeError> {
    let digest = || layer.name().to_owned();
    let fault = |source| TreeError::Decompress {
        layer: digest(),
        source,
    };
    let input = BufReader::with_capacity(READ_BYTES, blob);
    let mut plain: Box<dyn Read> = match layer.compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(MultiGzDecoder::new(input)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(input).map_err(fault)?),
    };
    loop {
        let mut buffer = used.try_recv().unwrap_or_default();
        buffer.resize(BUFFER_BYTES, 0);
        let len = read_full(&mut plain, &mut buffer).map_err(fault)?;
        if len == 0 {
            return Ok(());
        }
        budget.unpacked_bytes += len as u64;
        if budget.unpacked_bytes > budget.unpacked_limit {
            return Err(TreeError::TooManyBytes {
                layer: digest(),
                limit: budget.unpacked_limit,
            });
        }
        buffer.truncate(len);
        if next.send(buffer).is_err() {
            return Ok(());
        }
    }
}

/// Reads until `buf` is full or the stream ends.
fn read_full(from: &mut dyn Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buf.len() {
        match from.read(&mut buf[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// The bytes of a blob, and one more where a file has more than its descriptor says.
struct BlobBytes {
    from: Bytes,
    position: u64,
    end: u64,
}

enum Bytes {
    File(Arc<File>),
    Download(Arc<Download>),
}

impl BlobBytes {
    fn open(layer: &Layer) -> io::Result<Self> {
        let past = layer.size.saturating_add(1);
        let (from, position, end) = match &layer.place {
            BlobPlace::File(path) => (Bytes::File(Arc::new(File::open(path)?)), 0, past),
            BlobPlace::Download(download) => (Bytes::Download(Arc::clone(download)), 0, past),
            BlobPlace::Archive {
                archive, offset, ..
            } => (
                Bytes::File(Arc::clone(archive)),
                *offset,
                offset.saturating_add(layer.size),
            ),
        };
        Ok(Self {
            from,
            position,
            end,
        })
    }
}

impl Read for BlobBytes {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let wanted = buf.len().min(left);
        let buf = &mut buf[..wanted];
        let len = match &self.from {
            Bytes::File(file) => file.read_at(buf, self.position)?,
            Bytes::Download(download) => download.read_at(buf, self.position)?,
        };
        self.position += len as u64;
        Ok(len)
    }
}

/// A blob, hashed and counted as it is read.
struct Blob<'a> {
    bytes: BlobBytes,
    /// Nothing where no digest names the blob.
    hasher: Option<Sha256>,
    len: u64,
    progress: &'a dyn Progress,
    done_before: u64,
    total: u64,
}

impl Read for Blob<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.bytes.read(buf)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buf[..len]);
        }
        self.len += len as u64;
        let done = self.done_before + self.len;
        self.progress
            .advance(Stage::Layers, done.min(self.total), self.total);
        Ok(len)
    }
}
