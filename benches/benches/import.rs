//! The import of an image, and beside it the least that it could take.
//!
//! `cargo bench -p benches --bench import`, over a made-up image of 64 MiB, or the one that `BENCH_IMAGE`
//! (`oci:DIR:TAG`) names.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that can not go on may panic"
)]

use benches::{Sample, floor, image_or_sample};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use rootfs_store::{DEFAULT_CHUNK_BYTES, ImportOptions, Store};

const SAMPLE: Sample = Sample {
    bytes: 64 << 20,
    changed_files: 0,
};

fn import(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let image = image_or_sample(&dir.path().join("image"), SAMPLE).unwrap();
    let mut group = criterion.benchmark_group("import");
    group.sample_size(10);
    group.bench_function("to durable chunks", |bencher| {
        let new_store = || {
            let dir = tempfile::tempdir().unwrap();
            (Store::open(dir.path()).unwrap(), dir)
        };
        bencher.iter_batched(
            new_store,
            |(store, dir)| {
                let imported = store.import(&image, &ImportOptions::default(), &());
                (imported.unwrap().snapshot, dir)
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("floor: decompress, hash and compress only", |bencher| {
        bencher.iter(|| floor(&image, DEFAULT_CHUNK_BYTES).unwrap());
    });
    group.finish();
}

criterion_group!(benches, import);
criterion_main!(benches);
