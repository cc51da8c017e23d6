//! Fetching the rest.

use std::fs;
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rootfs_store::{BlobDigest, FillOptions, Progress, RemoteError, Stage, Store, StoreError};

use super::origin::{Manner, Memory, options};
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

/// The highest number that it was told, how much of how much that is, and how often it was told anything.
#[derive(Default)]
struct Told(AtomicU64, AtomicU64, AtomicU64);

impl Told {
    fn wait_for(&self, done: u64) {
        while self.0.load(Ordering::Relaxed) < done {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Progress for Told {
    fn advance(&self, stage: Stage, done: u64, total: u64) {
        assert_eq!(stage, Stage::Fetch);
        assert!(done <= total);
        self.0.fetch_max(done, Ordering::Relaxed);
        self.1.store(total, Ordering::Relaxed);
        self.2.fetch_add(1, Ordering::Relaxed);
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

/// Another process reads from an origin that lies, when that is too late for what the fill hashes while it comes, and
/// closes the file before the fill ends.
#[test]
fn what_another_process_damages_behind_a_fill_is_found() {
    // It opens the file before the fill does, or during it.
    for opens_early in [true, false] {
        let lazy = Lazy::new();
        let bytes = lazy.packs[0].bytes;
        let liar = Arc::new(Memory::default());
        liar.add(
            &Store::open(lazy.dir.path().join("from")).unwrap(),
            &lazy.packs[0].digest,
        );
        let other = Store::open_with(lazy.store.dir(), options(&liar)).unwrap();
        if opens_early {
            lazy.check_chunk(&other, 250);
        }
        let pause = |millis| {
            lazy.origin.behave(Manner {
                piece: Some(64 << 10),
                pause: Duration::from_millis(millis),
                ..Manner::default()
            });
        };
        pause(50);
        let told = Told::default();
        std::thread::scope(|scope| {
            let (lazy, told) = (&lazy, &told);
            let fill = scope.spawn(move || {
                let options = FillOptions::default();
                lazy.store.fill(&lazy.snapshot, &options, told).unwrap()
            });
            told.wait_for(bytes / 16);
            if !opens_early {
                lazy.check_chunk(&other, 250);
            }
            pause(1);
            told.wait_for(bytes / 2);
            pause(200);
            liar.behave(Manner {
                lies: usize::MAX,
                ..Manner::default()
            });
            lazy.read(&other, 100 * CHUNK, CHUNK).unwrap_err();
            drop(other);
            pause(0);
            assert!(
                told.0.load(Ordering::Relaxed) < bytes,
                "the fill was too fast"
            );
            assert_eq!(fill.join().unwrap().packs, 1);
        });
        check_is_blob(&lazy);
    }
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

/// Lets one byte pass in a second, so that a pack takes for ever.
fn slowly(is_cancelled: &(dyn Fn() -> bool + Sync)) -> FillOptions<'_> {
    FillOptions {
        bytes_per_second: NonZeroU64::new(1),
        is_cancelled,
    }
}

#[test]
fn who_waits_for_a_pack_gets_it_at_their_own_pace() {
    let lazy = Lazy::new();
    let told = Told::default();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| {
            let filled = lazy.store.fill(&lazy.snapshot, &slowly(&|| false), &());
            filled.unwrap().packs
        });
        std::thread::sleep(Duration::from_millis(300));
        let options = FillOptions {
            bytes_per_second: NonZeroU64::new(lazy.packs[0].bytes),
            ..FillOptions::default()
        };
        let filled = lazy.store.fill(&lazy.snapshot, &options, &told);
        assert_eq!(filled.unwrap().packs + slow.join().unwrap(), 1);
    });
    let took = begun.elapsed();
    assert!((900..20_000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(told.0.into_inner(), lazy.packs[0].bytes);
    // Of every few pieces that the other one fetched, too.
    assert!(told.2.into_inner() > 3);
    check_is_blob(&lazy);
}

#[test]
fn who_waits_for_another_fill_may_leave_it() {
    let lazy = Lazy::new();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| {
            let is_cancelled = || is_over.load(Ordering::Relaxed);
            lazy.store.fill(&lazy.snapshot, &slowly(&is_cancelled), &())
        });
        std::thread::sleep(Duration::from_millis(300));
        let begun = Instant::now();
        let is_cancelled = || begun.elapsed() > Duration::from_millis(300);
        let left = lazy.store.fill(&lazy.snapshot, &slowly(&is_cancelled), &());
        let took = begun.elapsed();
        is_over.store(true, Ordering::Relaxed);
        assert!(took < Duration::from_secs(5), "{took:?}");
        for ended in [left, slow.join().unwrap()] {
            let Err(StoreError::Remote(error)) = ended else {
                panic!("{ended:?}")
            };
            assert!(matches!(*error, RemoteError::Cancelled), "{error:?}");
        }
    });
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
