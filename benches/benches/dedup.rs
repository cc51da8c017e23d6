//! What a second version of an image adds to a store, at each size of chunks: a table of shares, and the time of the
//! import that finds it out.
//!
//! `cargo bench -p benches --bench dedup`, with made-up images of 256 MiB of which the second has 21 files changed.
//! `cargo xtask bench compare --only dedup` measures the same with real ones.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that can not go on may panic"
)]

use std::path::Path;

use benches::{Added, Frames, Sample};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rootfs_store::{ImageReference, ImportOptions, Store};

const FIRST: Sample = Sample {
    bytes: 256 << 20,
    changed_files: 0,
};
const SECOND: Sample = Sample {
    changed_files: 21,
    ..FIRST
};
const CHUNK_KIBS: [u32; 7] = [16, 32, 64, 128, 256, 512, 1024];

fn import(store: &Path, image: &ImageReference, chunk_kib: u32) -> Frames {
    let store = Store::open(store).unwrap();
    let options = ImportOptions {
        chunk_bytes: chunk_kib << 10,
        ..ImportOptions::default()
    };
    let imported = store.import(image, &options, &()).unwrap();
    let snapshot = store.snapshot(&imported.snapshot).unwrap();
    Frames::of(&store, &snapshot, imported.new_chunks).unwrap()
}

fn dedup(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let [first, second] = [("first", FIRST), ("second", SECOND)]
        .map(|(name, sample)| sample.write(&dir.path().join(name)).unwrap());
    let mut group = criterion.benchmark_group("import of a second version");
    group.sample_size(10);
    for kib in CHUNK_KIBS {
        let mut added = None;
        group.bench_function(BenchmarkId::new("chunks of KiB", kib), |bencher| {
            bencher.iter_batched(
                || {
                    let store = tempfile::tempdir_in(dir.path()).unwrap();
                    (import(store.path(), &first, kib), store)
                },
                |(first, store)| {
                    added = Some(import(store.path(), &second, kib).added_to(&first));
                    store
                },
                criterion::BatchSize::PerIteration,
            );
        });
        if let Some(added) = added {
            show(kib, &added);
        }
    }
    group.finish();
}

#[expect(clippy::cast_precision_loss, reason = "a share for people to read")]
fn show(kib: u32, added: &Added) {
    let share = 100.0 * added.new_chunks as f64 / added.chunks as f64;
    let stored = added.new_stored_bytes >> 10;
    println!(
        "chunks of {kib} KiB: {} of {} are new, {share:.2} %, {stored} KiB stored",
        added.new_chunks, added.chunks
    );
}

criterion_group!(benches, dedup);
criterion_main!(benches);
