//! Reads through a disk, hot and cold, beside pread on a plain file with the same bytes.
//!
//! `cargo bench -p benches --bench read`, over a made-up image of 256 MiB, or the one that `BENCH_IMAGE`
//! (`oci:DIR:TAG`) names.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that can not go on may panic"
)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use benches::{BLOCK, Extents, Sample, data_of, forget, image_or_sample};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rootfs_store::{ImportOptions, SnapshotDigest, Store, WritableDisk};

const SAMPLE: Sample = Sample {
    bytes: 256 << 20,
    changed_files: 0,
};
/// What hot reads read, in bytes: half of the store's cache.
const HOT_BYTES: u64 = 64 << 20;
const SIZES: [usize; 2] = [BLOCK, 128 << 10];

struct Bed {
    dir: tempfile::TempDir,
    snapshot: SnapshotDigest,
    file: File,
    extents: Extents,
}

impl Bed {
    fn new(chunk_bytes: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let image = image_or_sample(&dir.path().join("image"), SAMPLE).unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let options = ImportOptions {
            chunk_bytes,
            ..ImportOptions::default()
        };
        let snapshot = store.import(&image, &options, &()).unwrap().snapshot;
        let path = dir.path().join("plain");
        store.export(&snapshot, &path, &()).unwrap();
        let file = File::open(&path).unwrap();
        let extents = data_of(&file, &path).unwrap();
        store.create_disk("disk", &snapshot).unwrap();
        Self {
            dir,
            snapshot,
            file,
            extents,
        }
    }

    fn store_dir(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// A disk of a store whose caches are empty.
    fn disk(&self) -> WritableDisk {
        Store::open(self.store_dir())
            .unwrap()
            .open_disk("disk")
            .unwrap()
    }

    /// Time of `count` reads of one block, each of another chunk of a store that was just opened.
    fn cold(&self, count: u64, from_device: bool) -> Duration {
        let store = Store::open(self.store_dir()).unwrap();
        let chunk_bytes = store.snapshot(&self.snapshot).unwrap().chunk_bytes;
        let offsets = self.extents.sample(chunk_bytes.into(), usize::MAX, 1);
        let mut buffer = [0; BLOCK];
        let (mut total, mut left) = (Duration::ZERO, count);
        while left > 0 {
            let disk = self.disk();
            if from_device {
                forget(&self.store_dir().join("blobs")).unwrap();
            }
            let begun = Instant::now();
            for at in offsets.iter().take(usize::try_from(left).unwrap()) {
                disk.read_at(&mut buffer, *at).unwrap();
            }
            total += begun.elapsed();
            left = left.saturating_sub(offsets.len() as u64);
        }
        total
    }
}

fn hot(criterion: &mut Criterion) {
    let bed = Bed::new(rootfs_store::DEFAULT_CHUNK_BYTES);
    let disk = bed.disk();
    let extents = bed.extents.first(HOT_BYTES);
    for bytes in SIZES {
        let mut group = criterion.benchmark_group(format!("hot reads of {} KiB", bytes >> 10));
        group.throughput(Throughput::Bytes(bytes as u64));
        let unit = bytes as u64;
        let orders = [
            ("in order", extents.units(unit)),
            ("at random", extents.sample(unit, usize::MAX, 1)),
        ];
        let mut buffer = vec![0; bytes];
        for (order, offsets) in orders {
            let mut next = offsets.iter().cycle();
            group.bench_function(BenchmarkId::new("disk", order), |bencher| {
                bencher.iter(|| disk.read_at(&mut buffer, *next.next().unwrap()).unwrap());
            });
            group.bench_function(BenchmarkId::new("pread", order), |bencher| {
                bencher.iter(|| {
                    bed.file
                        .read_exact_at(&mut buffer, *next.next().unwrap())
                        .unwrap();
                });
            });
        }
        group.finish();
    }
}

fn cold(criterion: &mut Criterion) {
    for kib in [64, 512] {
        let bed = Bed::new(kib << 10);
        let mut group =
            criterion.benchmark_group(format!("cold reads of 4 KiB, chunks of {kib} KiB"));
        group.sample_size(10);
        for (place, from_device) in [("page cache", false), ("device", true)] {
            group.bench_function(place, |bencher| {
                bencher.iter_custom(|count| bed.cold(count, from_device));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, hot, cold);
criterion_main!(benches);
