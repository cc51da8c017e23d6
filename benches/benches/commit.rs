//! Commits: the first of a store that was just opened, by changed blocks, and by the size of the disk.
//!
//! `cargo bench -p benches --bench commit`. Disks lie over a made-up image of 64 MiB, or the one that `BENCH_IMAGE`
//! (`oci:DIR:TAG`) names. What was written is flushed before the time begins.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that can not go on may panic"
)]

use std::cell::Cell;
use std::path::Path;

use benches::{Changes, Sample, image_or_sample};
use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use rootfs_store::{ImportOptions, SnapshotDigest, Store, WritableDisk};

const SAMPLE: Sample = Sample {
    bytes: 64 << 20,
    changed_files: 0,
};
const GIB: u64 = 1 << 30;
const RUN_BYTES: u64 = 1 << 20;
const BLOCK_BYTES: u64 = benches::BLOCK as u64;

/// An image on a disk of some size, and the number of disks that were made of it.
struct Base {
    dir: tempfile::TempDir,
    snapshot: SnapshotDigest,
    disks: Cell<u64>,
}

impl Base {
    fn new(disk_bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let image = image_or_sample(&dir.path().join("image"), SAMPLE).unwrap();
        let options = ImportOptions {
            disk_bytes: Some(disk_bytes),
            ..ImportOptions::default()
        };
        let store = Store::open(dir.path().join("store")).unwrap();
        let snapshot = store.import(&image, &options, &()).unwrap().snapshot;
        Self {
            dir,
            snapshot,
            disks: Cell::new(0),
        }
    }

    fn store(&self) -> Store {
        Store::open(Path::join(self.dir.path(), "store")).unwrap()
    }

    fn changed(&self, store: &Store, runs: u64, run_bytes: u64) -> WritableDisk {
        let seed = self.disks.replace(self.disks.get() + 1);
        let disk = store
            .create_disk(&format!("disk{seed}"), &self.snapshot)
            .unwrap();
        let changes = Changes {
            runs,
            run_bytes,
            seed,
        };
        changes.write_to(&disk, disk.size()).unwrap();
        disk.flush().unwrap();
        disk
    }

    fn bench(
        &self,
        group: &mut BenchmarkGroup<'_, WallTime>,
        id: BenchmarkId,
        runs: u64,
        run_bytes: u64,
    ) {
        let store = self.store();
        group.throughput(Throughput::Bytes(runs * run_bytes));
        group.bench_function(id, |bencher| {
            bencher.iter_batched(
                || self.changed(&store, runs, run_bytes),
                |disk| {
                    store.commit(&disk, &()).unwrap();
                    disk
                },
                BatchSize::PerIteration,
            );
        });
    }
}

fn first(criterion: &mut Criterion) {
    let base = Base::new(8 * GIB);
    let mut group = criterion.benchmark_group("first commit after the store is opened");
    group.sample_size(10);
    for blocks in [16, 4096] {
        group.bench_function(BenchmarkId::new("scattered blocks", blocks), |bencher| {
            let prepare = || {
                drop(base.changed(&base.store(), blocks, BLOCK_BYTES));
                format!("disk{}", base.disks.get() - 1)
            };
            let commit = |id: String| {
                let store = base.store();
                let disk = store.open_disk(&id).unwrap();
                store.commit(&disk, &()).unwrap()
            };
            bencher.iter_batched(prepare, commit, BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn by_changed_bytes(criterion: &mut Criterion) {
    let base = Base::new(8 * GIB);
    let mut group = criterion.benchmark_group("commit of a disk of 8 GiB");
    group.sample_size(10);
    for blocks in [16, 256, 4096, 16384] {
        let id = BenchmarkId::new("scattered blocks", blocks);
        base.bench(&mut group, id, blocks, BLOCK_BYTES);
    }
    base.bench(
        &mut group,
        BenchmarkId::new("runs of 1 MiB", 64),
        64,
        RUN_BYTES,
    );
    group.finish();
}

fn by_disk_size(criterion: &mut Criterion) {
    for (name, runs, run_bytes) in [
        ("commit of 64 MiB in runs", 64, RUN_BYTES),
        ("commit of 256 scattered blocks", 256, BLOCK_BYTES),
    ] {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        for gib in [1, 8, 64, 512] {
            let id = BenchmarkId::new("GiB of the disk", gib);
            Base::new(gib * GIB).bench(&mut group, id, runs, run_bytes);
        }
        group.finish();
    }
}

criterion_group!(benches, first, by_changed_bytes, by_disk_size);
criterion_main!(benches);
