//! Exports of a snapshot to a sparse raw file.
//!
//! `cargo bench -p benches --bench export`, of a made-up image of 64 MiB, or the one that `BENCH_IMAGE` (`oci:DIR:TAG`)
//! names.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that can not go on may panic"
)]

use benches::{Sample, image_or_sample};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rootfs_store::{ImportOptions, Store};

const SAMPLE: Sample = Sample {
    bytes: 64 << 20,
    changed_files: 0,
};

fn export(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let image = image_or_sample(&dir.path().join("image"), SAMPLE).unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let imported = store
        .import(&image, &ImportOptions::default(), &())
        .unwrap();
    let mut group = criterion.benchmark_group("export");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(imported.new_bytes));
    group.bench_function("to a durable sparse file", |bencher| {
        bencher.iter_batched(
            || tempfile::tempdir_in(dir.path()).unwrap(),
            |folder| {
                let file = folder.path().join("disk");
                store.export(&imported.snapshot, &file, &()).unwrap();
                folder
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, export);
criterion_main!(benches);
