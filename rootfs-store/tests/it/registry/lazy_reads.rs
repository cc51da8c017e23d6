//! Reads of a snapshot whose packs are in a registry that misbehaves.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rootfs_store::{SnapshotDigest, Store};
use testbed::{Fault, Front};

use super::snapshots::{DISK_BYTES, base, changed, exported, faults_of_reads, noise, pull, push};
use super::{Bed, chain};

/// Requests of a read of the whole disk that may go wrong.
const REQUESTS: u64 = 3;
const READ_BYTES: usize = 256 << 10;
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads the whole disk, what fails a second time; how many reads failed.
fn read_twice(store: &Store, snapshot: &SnapshotDigest, host: &str, case: &str) -> (Vec<u8>, u64) {
    let disk = store.create_disk("d", snapshot).unwrap();
    let mut bytes = vec![0; usize::try_from(DISK_BYTES).unwrap()];
    let mut failed = 0;
    for (number, piece) in bytes.chunks_mut(READ_BYTES).enumerate() {
        let offset = (number * READ_BYTES) as u64;
        if let Err(error) = disk.read_at(piece, offset) {
            let text = chain(&error);
            assert!(
                text.contains(host) && text.contains("sha256:"),
                "{case}: {text}"
            );
            failed += 1;
            let again = disk.read_at(piece, offset);
            again.unwrap_or_else(|error| panic!("{case}, again: {}", chain(&error)));
        }
    }
    drop(disk);
    store.remove_disk("d").unwrap();
    (bytes, failed)
}

#[test]
fn reads_of_a_lazy_disk_survive_any_fault_at_any_request() {
    let bed = Bed::plain();
    let front = Front::start(bed.registry.host()).unwrap();
    let host = front.host();
    let store = bed.store("store", &[host]);
    let snapshot = changed(&store, &base(&bed, &store), 8 << 20, &noise(1, 3 << 20));
    push(&store, &snapshot, host, "labs/disk:v1");
    let expected = exported(&store, &snapshot, bed.dir.path());
    let mut faults = faults_of_reads();
    faults.push(Fault::RedirectTo("http://127.0.0.1:1/".to_owned()));
    let mut reached = 0;
    for fault in &faults {
        for at in 0..REQUESTS {
            let case = format!("{fault:?} at {at}");
            let lazy = bed.store_that_waits("lazy", &[host], PATIENCE);
            assert_eq!(pull(&lazy, host, "labs/disk:v1", true).unwrap(), snapshot);
            let (bad, begun) = (fault.clone(), Arc::new(AtomicU64::new(0)));
            let seen = Arc::clone(&begun);
            front.set_plan(move |_, _| {
                (seen.fetch_add(1, Ordering::Relaxed) == at).then(|| bad.clone())
            });
            let (bytes, failed) = read_twice(&lazy, &snapshot, host, &case);
            front.clear_plan();
            assert!(bytes == expected, "{case}");
            assert!(failed <= 1, "{case}: {failed} reads failed");
            reached += u64::from(begun.load(Ordering::Relaxed) > at);
            assert!(lazy.verify(&()).unwrap().faults.is_empty(), "{case}");
            fs::remove_dir_all(lazy.dir()).unwrap();
        }
    }
    // Read-ahead makes fewer requests at times, but not many fewer.
    assert!(reached >= faults.len() as u64 * 2, "{reached}");
}
