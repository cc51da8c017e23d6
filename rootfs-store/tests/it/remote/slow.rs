//! Reads over links that are slow, or break again and again.

use std::error::Error;
use std::iter;
use std::thread;
use std::time::{Duration, Instant};

use rootfs_store::{DiskError, RemoteError, Store, StoreError};

use super::origin::{Manner, ORIGIN};
use super::{CHUNK, Lazy};

const MIRROR: &str = "mirror.example/disk";
/// As long as reads of these tests wait.
const PATIENCE: Duration = Duration::from_millis(400);

/// A snapshot whose index was read, and so was its first chunk.
fn lazy() -> Lazy {
    let lazy = Lazy::new();
    lazy.check_chunk(&lazy.store, 0);
    lazy.origin.requests();
    lazy
}

/// The same, and a store that asks a mirror first.
fn mirrored() -> (Lazy, Store) {
    let lazy = lazy();
    let lease = lazy.store.lease().unwrap();
    let added = lazy.store.add_origin(&lazy.packs, MIRROR, &lease);
    assert_eq!(added.unwrap(), 1);
    let store = lazy.reopened();
    lazy.check_chunk(&store, 0);
    (lazy, store)
}

/// An error and its causes.
fn texts(error: &DiskError) -> String {
    let DiskError::Store(StoreError::Remote(error)) = error else {
        panic!("{error:?}")
    };
    assert!(
        matches!(**error, RemoteError::Unreachable { .. }),
        "{error:?}"
    );
    let first: &(dyn Error + 'static) = &**error;
    let causes = iter::successors(Some(first), |error| Error::source(*error));
    causes.map(|error| format!("{error}; ")).collect()
}

#[test]
fn reader_waits_for_a_fetch_of_somebody_else_while_its_bytes_come() {
    let lazy = lazy();
    // Five chunks that take more than a second.
    lazy.origin.behave(Manner {
        piece: Some(16 << 10),
        pause: Duration::from_millis(60),
        ..Manner::default()
    });
    thread::scope(|scope| {
        let prefetch = scope.spawn(|| {
            let begun = Instant::now();
            let chunks = [50, 51, 52, 53, 54];
            lazy.store
                .prefetch(&lazy.snapshot, &chunks, &|| false, &())
                .unwrap();
            begun.elapsed()
        });
        thread::sleep(PATIENCE / 4);
        lazy.check_chunk(&lazy.store, 52);
        assert!(prefetch.join().unwrap() > 2 * PATIENCE);
    });
    assert_eq!(lazy.origin.requests().len(), 1);
}

#[test]
fn range_that_is_cut_off_is_not_fetched_anew() {
    let lazy = lazy();
    lazy.origin.behave(Manner {
        cuts: 2,
        ..Manner::default()
    });
    let before = lazy.store.remote_stats();
    lazy.check_chunk(&lazy.store, 50);
    let asked: Vec<_> = lazy
        .origin
        .requests()
        .into_iter()
        .map(|it| it.range)
        .collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked.iter().all(|range| range.end == asked[0].end));
    assert!(asked[0].start < asked[1].start && asked[1].start < asked[2].start);
    let after = lazy.store.remote_stats();
    let fetched = after.fetched_bytes - before.fetched_bytes;
    assert_eq!(fetched, asked[0].end - asked[0].start);
    assert_eq!(after.retries - before.retries, 2);
}

#[test]
fn another_origin_is_asked_for_what_the_first_one_did_not_bring() {
    let (lazy, store) = mirrored();
    lazy.origin.behave(Manner {
        cuts: usize::MAX,
        only: Some(MIRROR),
        ..Manner::default()
    });
    let before = store.remote_stats().fetched_bytes;
    lazy.check_chunk(&store, 50);
    let asked = lazy.origin.requests();
    let (first, last) = (asked.first().unwrap(), asked.last().unwrap());
    assert_eq!((&*first.origin, &*last.origin), (MIRROR, ORIGIN));
    assert!(last.range.start > first.range.start);
    assert_eq!(last.range.end, first.range.end);
    let fetched = store.remote_stats().fetched_bytes - before;
    assert_eq!(fetched, first.range.end - first.range.start);
}

#[test]
fn frame_of_which_a_liar_brought_a_part_is_fetched_from_one_origin_alone() {
    let (lazy, store) = mirrored();
    lazy.origin.behave(Manner {
        lies: usize::MAX,
        liar: Some(MIRROR),
        cuts: usize::MAX,
        only: Some(MIRROR),
        ..Manner::default()
    });
    lazy.check_chunk(&store, 50);
    let asked = lazy.origin.requests();
    let last = asked.last().unwrap();
    assert_eq!((&*last.origin, &last.range), (ORIGIN, &asked[0].range));
}

#[test]
fn origin_that_drips_is_given_up() {
    let lazy = lazy();
    lazy.origin.behave(Manner {
        piece: Some(1),
        pause: Duration::from_millis(20),
        ..Manner::default()
    });
    let begun = Instant::now();
    let error = lazy.read(&lazy.store, 100 * CHUNK, CHUNK).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(5));
    let texts = texts(&error);
    assert!(texts.contains("less than 1024 bytes a second"), "{texts}");
}

#[test]
fn origin_that_drips_is_left_for_another_one() {
    let (lazy, store) = mirrored();
    lazy.origin.behave(Manner {
        piece: Some(1),
        pause: Duration::from_millis(20),
        only: Some(MIRROR),
        ..Manner::default()
    });
    lazy.check_chunk(&store, 100);
    let asked: Vec<_> = lazy
        .origin
        .requests()
        .into_iter()
        .map(|it| it.origin)
        .collect();
    assert_eq!(asked, [MIRROR, ORIGIN]);
}

#[test]
fn whole_pack_that_drips_is_given_up() {
    let lazy = lazy();
    lazy.origin.behave(Manner {
        knows_no_ranges: true,
        piece: Some(1),
        pause: Duration::from_millis(20),
        ..Manner::default()
    });
    let error = lazy.read(&lazy.store, 100 * CHUNK, CHUNK).unwrap_err();
    let texts = texts(&error);
    assert!(texts.contains("less than 1024 bytes a second"), "{texts}");
}

#[test]
fn prefetch_that_failed_takes_no_patience_from_reads() {
    let lazy = lazy();
    lazy.origin.behave(Manner {
        is_down: true,
        ..Manner::default()
    });
    let prefetched = lazy
        .store
        .prefetch(&lazy.snapshot, &[50, 51], &|| false, &());
    prefetched.unwrap_err();
    lazy.origin.behave(Manner {
        failures: 2,
        ..Manner::default()
    });
    lazy.check_chunk(&lazy.store, 100);
}

#[test]
fn read_that_failed_spares_those_behind_it_the_wait() {
    let lazy = lazy();
    lazy.origin.behave(Manner {
        is_down: true,
        ..Manner::default()
    });
    let disk = lazy.store.create_disk("d", &lazy.snapshot).unwrap();
    let took = |chunk: usize| {
        let (begun, mut bytes) = (Instant::now(), vec![0; CHUNK]);
        disk.read_at(&mut bytes, (chunk * CHUNK) as u64)
            .unwrap_err();
        begun.elapsed()
    };
    assert!(took(100) >= PATIENCE * 3 / 4);
    assert!(took(150) < PATIENCE / 2);
    // Not for ever: one that comes after as long as reads wait has all of its patience.
    thread::sleep(PATIENCE);
    assert!(took(200) >= PATIENCE * 3 / 4);
}
