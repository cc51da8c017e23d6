//! What users of the store wait for: imports, reads, and commits after scattered writes.
//!
//! `cargo bench --bench store`. `BENCH_IMAGE` (`oci:DIR:TAG`) names a real image to import; without it, one of
//! 64 MiB in files of 20 KiB is made up.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that can not go on may panic"
)]

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufReader, Read};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Mutex, mpsc};
use std::thread;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use flate2::bufread::MultiGzDecoder;
use rootfs_store::image::{Compression, Image, Layer, Platform, Scratch, open};
use rootfs_store::{BlobDigest, ChunkDigest, DEFAULT_CHUNK_BYTES, ImageReference, ImportOptions};
use rootfs_store::{SnapshotDigest, Store};
use serde_json::json;

const FILE_BYTES: usize = 20 << 10;
const FILES: usize = (64 << 20) / FILE_BYTES;
const BLOCK: usize = 4096;

fn image(dir: &Path) -> ImageReference {
    match std::env::var("BENCH_IMAGE") {
        Ok(image) => image.parse().unwrap(),
        Err(_) => made_up_image(dir),
    }
}

/// An image with one plain layer of files that compress about as well as programs do.
fn made_up_image(dir: &Path) -> ImageReference {
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    let mut numbers = Numbers(1);
    let mut tar = tar::Builder::new(Vec::new());
    for file in 0..FILES {
        let content: Vec<u8> = (0..FILE_BYTES / 16)
            .flat_map(|_| numbers.half_random())
            .collect();
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(
            &mut header,
            format!("usr/lib/{:03}/{file}", file / 100),
            &*content,
        )
        .unwrap();
    }
    let layer = tar.into_inner().unwrap();
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [BlobDigest::of(&layer).to_string()] },
    });
    let config = blob(dir, "config.v1+json", config.to_string().as_bytes());
    let layers = [blob(dir, "layer.v1.tar", &layer)];
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
    let manifest = blob(dir, "manifest.v1+json", manifest.to_string().as_bytes());
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    format!("oci:{}", dir.display()).parse().unwrap()
}

fn blob(dir: &Path, kind: &str, bytes: &[u8]) -> serde_json::Value {
    let digest = BlobDigest::of(bytes).to_string();
    fs::write(dir.join("blobs/sha256").join(&digest[7..]), bytes).unwrap();
    json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": bytes.len() })
}

/// Numbers that are the same in every run (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn half_random(&mut self) -> [u8; 16] {
        let mut bytes = *b"half is the same";
        bytes[..8].copy_from_slice(&self.next().to_le_bytes());
        bytes
    }

    fn block_below(&mut self, bytes: u64) -> u64 {
        self.next() % (bytes / BLOCK as u64) * BLOCK as u64
    }
}

fn imported(store: &Store, image: &ImageReference) -> SnapshotDigest {
    store
        .import(image, &ImportOptions::default(), &())
        .unwrap()
        .snapshot
}

/// What any import must do at least: decompress the layers, and hash and compress their bytes chunk by chunk. Nothing is
/// checked, laid out or written. Returns the compressed bytes.
fn decompress_hash_compress(image: &Image) -> usize {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let (sender, chunks) = mpsc::sync_channel::<Vec<u8>>(4 * threads);
    let chunks = Mutex::new(chunks);
    thread::scope(|scope| {
        let work = || {
            let mut compressor = zstd::bulk::Compressor::new(1).unwrap();
            let mut bytes = 0;
            while let Some(chunk) = { chunks.lock().unwrap().recv().ok() } {
                if chunk.iter().any(|b| *b != 0) {
                    black_box(ChunkDigest::of(&chunk));
                    bytes += compressor.compress(&chunk).unwrap().len();
                }
            }
            bytes
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for layer in &image.layers {
            let mut plain = plain(layer);
            loop {
                let mut chunk = Vec::with_capacity(DEFAULT_CHUNK_BYTES as usize);
                let part = plain.by_ref().take(u64::from(DEFAULT_CHUNK_BYTES));
                { part }.read_to_end(&mut chunk).unwrap();
                if chunk.is_empty() {
                    break;
                }
                sender.send(chunk).unwrap();
            }
        }
        drop(sender);
        workers.into_iter().map(|w| w.join().unwrap()).sum()
    })
}

/// The tar stream of a layer.
fn plain(layer: &Layer) -> Box<dyn Read> {
    let file = BufReader::with_capacity(128 << 10, File::open(layer.place.path()).unwrap());
    match layer.compression {
        Compression::Gzip => Box::new(MultiGzDecoder::new(file)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(file).unwrap()),
        _ => Box::new(file),
    }
}

/// The import, and beside it the least that it could take.
fn import(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let image = image(&dir.path().join("image"));
    let mut group = criterion.benchmark_group("import");
    group.sample_size(10);
    group.bench_function("to durable chunks", |bencher| {
        let new_store = || {
            let dir = tempfile::tempdir().unwrap();
            (Store::open(dir.path()).unwrap(), dir)
        };
        bencher.iter_batched(
            new_store,
            |(store, dir)| (imported(&store, &image), dir),
            BatchSize::PerIteration,
        );
    });
    let scratch = Scratch {
        dir: dir.path(),
        limit_bytes: u64::MAX,
    };
    let opened = open(&image, &Platform::default(), &scratch).unwrap();
    group.bench_function("floor: decompress, hash and compress only", |bencher| {
        bencher.iter(|| decompress_hash_compress(&opened));
    });
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let snapshot = imported(&store, &image(&dir.path().join("image")));
    let disk = store.create_disk("disk", &snapshot).unwrap();
    let mut numbers = Numbers(1);
    let mut buffer = [0; BLOCK];
    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Bytes(BLOCK as u64));
    group.bench_function("4 KiB at random in 64 MiB, hot", |bencher| {
        bencher.iter(|| {
            disk.read_at(&mut buffer, numbers.block_below(64 << 20))
                .unwrap()
        });
    });
    group.finish();
}

fn commit(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let snapshot = imported(&store, &image(&dir.path().join("image")));
    let mut numbers = Numbers(1);
    let mut disks = 0;
    let mut group = criterion.benchmark_group("commit");
    group.sample_size(10);
    for (name, writes) in [
        ("256 scattered blocks", 256),
        ("4096 scattered blocks", 4096),
    ] {
        group.bench_function(name, |bencher| {
            let new_disk = || {
                disks += 1;
                let disk = store
                    .create_disk(&format!("disk{disks}"), &snapshot)
                    .unwrap();
                for _ in 0..writes {
                    let block: Vec<u8> = (0..BLOCK / 16)
                        .flat_map(|_| numbers.half_random())
                        .collect();
                    disk.write_at(&block, numbers.block_below(disk.size()))
                        .unwrap();
                }
                disk
            };
            bencher.iter_batched(
                new_disk,
                |disk| store.commit(&disk, &()).unwrap(),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, import, read, commit);
criterion_main!(benches);
