//! Fetching the rest.

use std::fs;
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rootfs_store::{BlobDigest, FillOptions, Progress, RemoteError, Stage, Store, StoreError};

use super::origin::Manner;
use super::{CHUNK, Lazy};

fn fill(lazy: &Lazy, store: &Store) -> rootfs_store::Filled {
    let filled = store.fill(&lazy.snapshot, &FillOptions::default(), &());
    filled.unwrap()
}

/// Fails unless the pack is a blob like any other, and nothing is left of where it was.
fn check_is_blob(lazy: &Lazy) {
    let bytes = fs::read(lazy.blob()).unwrap();
    assert_eq!(BlobDigest::of(&bytes), lazy.packs[0].digest);
    let mode = lazy.blob().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o444);
    assert!(!lazy.record().exists() && !lazy.cache().exists());
    let store = Store::open(lazy.store.dir()).unwrap();
    let verified = store.verify(&()).unwrap();
    assert!(verified.faults.is_empty(), "{:?}", verified.faults);
    assert_eq!(verified.remote_packs, 0);
    lazy.check_all(&store);
}

/// The highest number that it was told, and how much of how much that is.
#[derive(Default)]
struct Told(AtomicU64, AtomicU64);

impl Progress for Told {
    fn advance(&self, stage: Stage, done: u64, total: u64) {
        assert_eq!(stage, Stage::Fetch);
        assert!(done <= total);
        self.0.fetch_max(done, Ordering::Relaxed);
        self.1.store(total, Ordering::Relaxed);
    }
}

#[test]
fn filled_pack_is_a_blob() {
    let lazy = Lazy::new();
    let told = Told::default();
    let filled = lazy
        .store
        .fill(&lazy.snapshot, &FillOptions::default(), &told);
    let filled = filled.unwrap();
    let bytes = lazy.packs[0].bytes;
    assert_eq!((filled.packs, filled.bytes), (1, bytes));
    assert_eq!(filled.fetched_bytes, bytes);
    assert_eq!(told.0.into_inner(), bytes);
    assert_eq!(told.1.into_inner(), bytes);
    let requests = lazy.origin.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    check_is_blob(&lazy);
    // Who has it open reads on.
    lazy.check_all(&lazy.store);
    assert_eq!(fill(&lazy, &lazy.store).packs, 0);
    assert_eq!(lazy.origin.requests(), []);
}

#[test]
fn what_was_read_is_not_fetched_again() {
    let lazy = Lazy::new();
    let disk = lazy.store.create_disk("d", &lazy.snapshot).unwrap();
    let mut bytes = vec![0; 6 << 20];
    disk.read_at(&mut bytes, 3 << 20).unwrap();
    lazy.origin.requests();
    let filled = fill(&lazy, &lazy.reopened());
    assert!(filled.fetched_bytes < lazy.packs[0].bytes - (5 << 20));
    assert!(lazy.origin.requests().len() <= 3);
    check_is_blob(&lazy);
    disk.read_at(&mut bytes, 3 << 20).unwrap();
    assert!(bytes == lazy.bytes[3 << 20..9 << 20]);
}

#[test]
fn stream_that_breaks_off_goes_on_where_it_was() {
    let lazy = Lazy::new();
    lazy.origin.behave(Manner {
        failures: 2,
        cuts: 3,
        ..Manner::default()
    });
    fill(&lazy, &lazy.store);
    let requests = lazy.origin.requests();
    assert_eq!(requests.len(), 6, "{requests:?}");
    assert!(requests[5].range.start > lazy.packs[0].bytes * 3 / 4);
    check_is_blob(&lazy);
}

#[test]
fn origin_without_ranges_fills_as_well() {
    let lazy = Lazy::new();
    lazy.origin.behave(Manner {
        knows_no_ranges: true,
        ..Manner::default()
    });
    fill(&lazy, &lazy.store);
    check_is_blob(&lazy);
}

#[test]
fn fill_that_fails_or_is_cancelled_loses_nothing() {
    let lazy = Lazy::new();
    let asked = AtomicUsize::new(0);
    let is_cancelled = || asked.fetch_add(1, Ordering::Relaxed) > 1000;
    let options = FillOptions {
        is_cancelled: &is_cancelled,
        ..FillOptions::default()
    };
    let cancelled = lazy.store.fill(&lazy.snapshot, &options, &());
    let Err(StoreError::Remote(error)) = cancelled else {
        panic!("{cancelled:?}")
    };
    assert!(matches!(*error, RemoteError::Cancelled));
    let fetched = lazy.origin.requests().len();
    assert_eq!(fetched, 1);
    lazy.origin.behave(Manner {
        is_down: true,
        ..Manner::default()
    });
    let failed = lazy
        .store
        .fill(&lazy.snapshot, &FillOptions::default(), &());
    assert!(matches!(failed, Err(StoreError::Remote(_))), "{failed:?}");
    lazy.origin.requests();
    lazy.origin.behave(Manner::default());
    let filled = fill(&lazy, &lazy.reopened());
    assert!(filled.fetched_bytes < lazy.packs[0].bytes / 2, "{filled:?}");
    check_is_blob(&lazy);
}

#[test]
fn damaged_part_is_found_and_fetched_alone() {
    let lazy = Lazy::new();
    lazy.check_all(&lazy.store);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(lazy.cache())
        .unwrap();
    file.write_all_at(&[0xee; 100], 70 * CHUNK as u64).unwrap();
    lazy.origin.requests();
    let filled = fill(&lazy, &lazy.reopened());
    // The table, which nobody had read, and the damaged frame.
    assert!(filled.fetched_bytes < 8 * CHUNK as u64, "{filled:?}");
    check_is_blob(&lazy);
}

#[test]
fn liar_is_found_out_and_leaves_no_blob() {
    let lazy = Lazy::new();
    lazy.origin.behave(Manner {
        lies: 1,
        ..Manner::default()
    });
    let filled = fill(&lazy, &lazy.store);
    assert!(filled.fetched_bytes < lazy.packs[0].bytes + 8 * CHUNK as u64);
    check_is_blob(&lazy);

    let lazy = Lazy::new();
    lazy.origin.behave(Manner {
        lies: usize::MAX,
        ..Manner::default()
    });
    let failed = lazy
        .store
        .fill(&lazy.snapshot, &FillOptions::default(), &());
    let Err(StoreError::Remote(error)) = failed else {
        panic!("{failed:?}")
    };
    assert!(matches!(*error, RemoteError::Content { .. }), "{error}");
    assert!(!lazy.blob().exists() && lazy.record().exists());
    lazy.origin.behave(Manner::default());
    lazy.check_all(&lazy.store);
    fill(&lazy, &lazy.store);
    check_is_blob(&lazy);
}

#[test]
fn pack_that_others_have_open_is_copied() {
    let lazy = Lazy::new();
    let other = lazy.reopened();
    let disk = other.create_disk("d", &lazy.snapshot).unwrap();
    let mut bytes = vec![0; CHUNK];
    disk.read_at(&mut bytes, 0).unwrap();
    fill(&lazy, &lazy.store);
    check_is_blob(&lazy);
    // They read on, from the file that they have or from the blob.
    disk.read_at(&mut bytes, 0).unwrap();
    lazy.origin.requests();
    disk.read_at(&mut bytes, 128 * CHUNK as u64).unwrap();
    assert!(bytes == lazy.bytes[128 * CHUNK..129 * CHUNK]);
    assert_eq!(lazy.origin.requests(), []);
}

#[test]
fn two_fills_and_readers_at_once_do_no_harm() {
    let lazy = Lazy::new();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| fill(&lazy, &lazy.store));
            scope.spawn(|| fill(&lazy, &lazy.reopened()));
            scope.spawn(|| lazy.check_chunk(&lazy.store, 200));
        }
    });
    check_is_blob(&lazy);
}

#[test]
fn rate_is_kept() {
    let lazy = Lazy::new();
    let options = FillOptions {
        bytes_per_second: NonZeroU64::new(lazy.packs[0].bytes * 2),
        ..FillOptions::default()
    };
    let begun = Instant::now();
    lazy.store.fill(&lazy.snapshot, &options, &()).unwrap();
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(400), "{took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn leftover_of_a_killed_fill_is_taken_away() {
    let lazy = Lazy::new();
    let record = fs::read(lazy.record()).unwrap();
    fill(&lazy, &lazy.store);
    // Killed before the record went, or while the blob was made of the file.
    fs::write(lazy.record(), &record).unwrap();
    assert_eq!(fill(&lazy, &lazy.reopened()).packs, 0);
    check_is_blob(&lazy);
    fs::write(lazy.record(), &record).unwrap();
    fs::rename(lazy.blob(), lazy.cache()).unwrap();
    let filled = fill(&lazy, &lazy.reopened());
    assert_eq!((filled.packs, filled.fetched_bytes), (1, 0));
    check_is_blob(&lazy);
}

#[test]
fn damaged_pack_is_fetched_anew_and_replaced() {
    let lazy = Lazy::new();
    fill(&lazy, &lazy.store);
    let mut bytes = fs::read(lazy.blob()).unwrap();
    bytes[5 * CHUNK] ^= 1;
    fs::remove_file(lazy.blob()).unwrap();
    fs::write(lazy.blob(), &bytes).unwrap();
    let store = lazy.reopened();
    assert!(!store.verify(&()).unwrap().faults.is_empty());
    let lease = store.lease().unwrap();
    let refetch = || {
        let options = FillOptions::default();
        store.refetch_packs(&lazy.packs, super::origin::ORIGIN, &lease, &options, &())
    };
    lazy.origin.behave(Manner {
        is_empty: true,
        ..Manner::default()
    });
    refetch().unwrap_err();
    assert!(fs::read(lazy.blob()).unwrap() == bytes);
    lazy.origin.behave(Manner::default());
    assert_eq!(refetch().unwrap().packs, 1);
    check_is_blob(&lazy);
}
