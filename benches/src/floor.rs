//! The least that an import could take: gunzip, SHA-256 and zstd-1 over the same bytes, with nothing else.
//!
//! One thread unpacks; two compress, of which one is the unpacker itself whenever the other is behind. No byte is
//! written, parsed or verified, and each is hashed once.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use flate2::bufread::MultiGzDecoder;
use rootfs_store::ImageReference;
use rootfs_store::image::{self, BlobPlace, Compression, Layer, Platform, Scratch};
use sha2::{Digest as _, Sha256};

use crate::MeasureError;

/// Pieces that wait for the other thread.
const WAITING: usize = 16;
/// Bytes that are read from a blob at a time.
const READ_BYTES: usize = 256 << 10;
/// The level of the store's chunks.
const ZSTD_LEVEL: i32 = 1;

/// What the least cost.
#[derive(Debug, Default, Clone, Copy)]
pub struct Floor {
    /// Bytes of the layers' tar streams.
    pub plain_bytes: u64,
    /// Bytes of their pieces, compressed.
    pub packed_bytes: u64,
    /// Wall time.
    pub time: Duration,
}

/// Decompresses, hashes and compresses the layers of an image in an OCI layout, in pieces of `chunk_bytes`.
///
/// # Errors
/// [`MeasureError`] for an image that is no such one, or has other than plain and gzip layers.
pub fn floor(image: &ImageReference, chunk_bytes: u32) -> Result<Floor, MeasureError> {
    let begun = Instant::now();
    let scratch = Scratch {
        dir: &std::env::temp_dir(),
        limit_bytes: 0,
        progress: &(),
    };
    let image = image::open(image, &Platform::default(), &scratch)?;
    let (sender, receiver) = bounded(WAITING);
    let (mine, its) = (Worker::new()?, Worker::new()?);
    let mut done = thread::scope(|scope| {
        let other = scope.spawn(move || compress_all(its, &receiver));
        let here = unpack_all(mine, &image.layers, chunk_bytes as usize, &sender);
        drop(sender);
        let there = other.join().unwrap_or_default();
        here.map(|here| here.and(there))
    })?;
    done.time = begun.elapsed();
    Ok(done)
}

fn compress_all(mut worker: Worker, pieces: &Receiver<Vec<u8>>) -> Floor {
    pieces.iter().for_each(|piece| worker.compress(&piece));
    worker.done
}

fn unpack_all(
    mut worker: Worker,
    layers: &[Layer],
    chunk_bytes: usize,
    other: &Sender<Vec<u8>>,
) -> Result<Floor, MeasureError> {
    for layer in layers {
        let blob = plain(layer)?;
        unpack(blob, layer.place.path(), chunk_bytes, other, &mut worker)?;
    }
    Ok(worker.done)
}

/// The tar stream of a layer.
fn plain(layer: &Layer) -> Result<Box<dyn Read>, MeasureError> {
    let path = layer.place.path();
    let unknown = || MeasureError::NoFloor {
        path: path.to_owned(),
    };
    let BlobPlace::File(_) = layer.place else {
        return Err(unknown());
    };
    let blob = File::open(path).map_err(MeasureError::io("open", path))?;
    let blob = BufReader::with_capacity(READ_BYTES, blob);
    match layer.compression {
        Compression::Gzip => Ok(Box::new(MultiGzDecoder::new(blob))),
        Compression::None => Ok(Box::new(blob)),
        _ => Err(unknown()),
    }
}

fn unpack(
    mut plain: impl Read,
    path: &Path,
    chunk_bytes: usize,
    other: &Sender<Vec<u8>>,
    worker: &mut Worker,
) -> Result<(), MeasureError> {
    loop {
        let mut piece = Vec::with_capacity(chunk_bytes);
        plain
            .by_ref()
            .take(chunk_bytes as u64)
            .read_to_end(&mut piece)
            .map_err(MeasureError::io("unpack", path))?;
        if piece.is_empty() {
            return Ok(());
        }
        match other.try_send(piece) {
            Ok(()) => {}
            Err(TrySendError::Full(piece) | TrySendError::Disconnected(piece)) => {
                worker.compress(&piece);
            }
        }
    }
}

struct Worker {
    zstd: zstd::bulk::Compressor<'static>,
    packed: Vec<u8>,
    done: Floor,
}

impl Worker {
    fn new() -> Result<Self, MeasureError> {
        let zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL)
            .map_err(|source| MeasureError::Compressor { source })?;
        Ok(Self {
            zstd,
            packed: Vec::new(),
            done: Floor::default(),
        })
    }

    fn compress(&mut self, piece: &[u8]) {
        std::hint::black_box(Sha256::digest(piece));
        self.packed.clear();
        self.packed
            .reserve(zstd::zstd_safe::compress_bound(piece.len()));
        let packed = self.zstd.compress_to_buffer(piece, &mut self.packed);
        self.done.plain_bytes += piece.len() as u64;
        // Room for the worst case was reserved, so there is no failure to report.
        self.done.packed_bytes += packed.unwrap_or(0) as u64;
    }
}

impl Floor {
    fn and(self, other: Self) -> Self {
        Self {
            plain_bytes: self.plain_bytes + other.plain_bytes,
            packed_bytes: self.packed_bytes + other.packed_bytes,
            time: self.time,
        }
    }
}
