//! Reads of what is elsewhere.

use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rootfs_store::{
    Change, DiskError, RemoteError, Store, StoreError, StoreOptions, Watch, WritableDisk,
};

use super::origin::{Manner, ORIGIN, options};
use super::{CHUNK, DISK_BYTES, Lazy};

/// What a read failed with.
fn cause(error: &DiskError) -> &RemoteError {
    let DiskError::Store(StoreError::Remote(error)) = error else {
        panic!("{error:?}")
    };
    error
}

fn read_chunk(disk: &WritableDisk, chunk: usize) -> Vec<u8> {
    let mut bytes = vec![0; CHUNK];
    disk.read_at(&mut bytes, (chunk * CHUNK) as u64).unwrap();
    bytes
}

#[test]
fn few_bytes_are_fetched_for_few_reads_and_none_twice() {
    let lazy = Lazy::new();
    assert_eq!(lazy.origin.requests(), []);
    for chunk in [100, 3, 200] {
        lazy.check_chunk(&lazy.store, chunk);
    }
    let requests = lazy.origin.requests();
    assert!(requests.len() <= 5, "{requests:?}");
    let bytes: u64 = requests
        .iter()
        .map(|it| it.range.end - it.range.start)
        .sum();
    assert!(bytes < 5 * CHUNK as u64, "{bytes}");
    let stats = lazy.store.remote_stats();
    assert_eq!(stats.requests, requests.len() as u64);
    assert_eq!((stats.fetched_bytes, stats.retries), (bytes, 0));
    let reopened = lazy.reopened();
    for store in [&lazy.store, &reopened] {
        lazy.check_chunk(store, 3);
        lazy.check_chunk(store, 200);
    }
    assert_eq!(lazy.origin.requests(), []);
    assert!(reopened.remote_stats().cached_bytes > 2 * CHUNK as u64);
    // What was fetched is there without the registry, too.
    lazy.check_chunk(&Store::open(lazy.store.dir()).unwrap(), 100);
}

#[test]
fn reads_that_run_forward_need_few_requests() {
    let lazy = Lazy::new();
    let disk = lazy.store.create_disk("d", &lazy.snapshot).unwrap();
    for chunk in 0..DISK_BYTES / CHUNK {
        assert!(read_chunk(&disk, chunk) == lazy.bytes[chunk * CHUNK..(chunk + 1) * CHUNK]);
    }
    let requests = lazy.origin.requests();
    assert!(requests.len() < 30, "{}", requests.len());
    let mut ranges: Vec<_> = requests.into_iter().map(|request| request.range).collect();
    ranges.sort_by_key(|range| range.start);
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
    let stats = lazy.store.remote_stats();
    assert!(stats.ahead_frames > 200, "{stats:?}");
    assert!(stats.fetched_bytes <= lazy.packs[0].bytes);
}

#[test]
fn neighbours_that_one_read_needs_come_with_one_request() {
    let lazy = Lazy::new();
    let disk = lazy.store.create_disk("d", &lazy.snapshot).unwrap();
    read_chunk(&disk, 0);
    lazy.origin.requests();
    let (at, mut bytes) = (100 * CHUNK + 5000, vec![0; 12 * CHUNK]);
    disk.read_at(&mut bytes, at as u64).unwrap();
    assert!(bytes == lazy.bytes[at..at + 12 * CHUNK]);
    let requests = lazy.origin.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    let fetched = requests[0].range.end - requests[0].range.start;
    assert!(fetched < 13 * (CHUNK as u64 + 100), "{fetched}");
    assert_eq!(lazy.store.remote_stats().ahead_frames, 0);
}

#[test]
fn readers_of_one_range_fetch_it_once_and_others_need_not_wait() {
    let lazy = Lazy::new();
    lazy.check_chunk(&lazy.store, 0);
    lazy.origin.requests();
    lazy.origin.behave(Manner {
        delay: Duration::from_millis(200),
        ..Manner::default()
    });
    let disk = lazy.store.create_disk("d", &lazy.snapshot).unwrap();
    let begun = Instant::now();
    thread::scope(|scope| {
        for reader in 0..12 {
            let (disk, lazy) = (&disk, &lazy);
            scope.spawn(move || {
                let chunk = 50 + reader % 4 * 40;
                assert!(read_chunk(disk, chunk) == lazy.bytes[chunk * CHUNK..(chunk + 1) * CHUNK]);
            });
        }
    });
    assert!(begun.elapsed() < Duration::from_millis(700));
    assert_eq!(lazy.origin.requests().len(), 4);
}

#[test]
fn read_waits_for_an_origin_that_comes_back() {
    let lazy = Lazy::new();
    lazy.origin.behave(Manner {
        failures: 3,
        ..Manner::default()
    });
    lazy.check_chunk(&lazy.store, 7);
    assert!(lazy.store.remote_stats().retries >= 3);
}

#[test]
fn read_fails_when_its_patience_ends_and_the_next_one_tries_again() {
    let lazy = Lazy::new();
    lazy.check_chunk(&lazy.store, 1);
    lazy.origin.behave(Manner {
        is_down: true,
        ..Manner::default()
    });
    let begun = Instant::now();
    let error = lazy.read(&lazy.store, 100 * CHUNK, CHUNK).unwrap_err();
    let took = begun.elapsed();
    let error = cause(&error);
    assert!(
        matches!(error, RemoteError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(error.source().unwrap().source().is_some());
    assert!((300..2000).contains(&took.as_millis()), "{took:?}");
    // What is here can be read all the time.
    lazy.check_chunk(&lazy.store, 1);
    lazy.origin.behave(Manner::default());
    lazy.check_chunk(&lazy.store, 100);
}

#[test]
fn readers_that_wait_for_one_another_fail_together() {
    let lazy = Lazy::new();
    lazy.origin.behave(Manner {
        is_down: true,
        ..Manner::default()
    });
    let disk = lazy.store.create_disk("d", &lazy.snapshot).unwrap();
    let begun = Instant::now();
    thread::scope(|scope| {
        for reader in 0..8 {
            let (disk, mut byte) = (&disk, [0]);
            // Of one chunk, and of others whose pages are the same.
            let at = (reader / 2 * 20 * CHUNK) as u64;
            scope.spawn(move || disk.read_at(&mut byte, at).unwrap_err());
        }
    });
    let took = begun.elapsed();
    assert!((300..900).contains(&took.as_millis()), "{took:?}");
}

#[test]
fn pack_that_is_gone_is_an_error_at_once() {
    let lazy = Lazy::new();
    lazy.origin.behave(Manner {
        is_empty: true,
        ..Manner::default()
    });
    let begun = Instant::now();
    let error = lazy.read(&lazy.store, 0, 1).unwrap_err();
    assert!(
        matches!(cause(&error), RemoteError::Refused { .. }),
        "{error:?}"
    );
    assert!(begun.elapsed() < Duration::from_millis(300));
}

#[test]
fn wrong_bytes_are_fetched_again_once() {
    let lazy = Lazy::new();
    lazy.check_chunk(&lazy.store, 0);
    for (lies, works) in [(1, false), (0, true)] {
        lazy.origin.behave(Manner {
            lies,
            ..Manner::default()
        });
        match lazy.read(&lazy.store, 30 * CHUNK, CHUNK) {
            Ok(_) => assert!(works),
            Err(error) => {
                assert!(!works);
                let error = cause(&error);
                assert!(matches!(error, RemoteError::Damaged { .. }), "{error:?}");
                assert!(error.to_string().contains(ORIGIN), "{error}");
            }
        }
    }
    lazy.check_chunk(&lazy.store, 30);
}

#[test]
fn another_origin_helps_where_the_first_one_lies_or_fails() {
    let lazy = Lazy::new();
    let lease = lazy.store.lease().unwrap();
    let added = lazy
        .store
        .add_origin(&lazy.packs, "mirror.example/disk", &lease);
    assert_eq!(added.unwrap(), 1);
    lazy.origin.behave(Manner {
        lies: usize::MAX,
        liar: Some("mirror.example/disk"),
        ..Manner::default()
    });
    lazy.check_all(&lazy.store);
    assert!(lazy.origin.requests().iter().any(|it| it.origin == ORIGIN));
    let elsewhere = lazy.store.elsewhere(&lazy.snapshot).unwrap();
    assert_eq!(elsewhere[0].origins, ["mirror.example/disk", ORIGIN]);
}

#[test]
fn answers_that_are_too_short_or_too_long_are_tried_again() {
    let lazy = Lazy::new();
    lazy.origin.behave(Manner {
        cuts: 2,
        excesses: 2,
        ..Manner::default()
    });
    lazy.check_chunk(&lazy.store, 9);
    assert!(lazy.store.remote_stats().retries >= 2);
}

#[test]
fn origin_that_knows_no_ranges_is_streamed_once() {
    let lazy = Lazy::new();
    lazy.origin.behave(Manner {
        knows_no_ranges: true,
        delay: Duration::from_millis(20),
        ..Manner::default()
    });
    let disk = lazy.store.create_disk("d", &lazy.snapshot).unwrap();
    thread::scope(|scope| {
        for reader in 0..8 {
            let (disk, lazy) = (&disk, &lazy);
            scope.spawn(move || {
                let chunk = reader * 30;
                assert!(read_chunk(disk, chunk) == lazy.bytes[chunk * CHUNK..(chunk + 1) * CHUNK]);
            });
        }
    });
    let requests = lazy.origin.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(requests[0].is_stream && requests[0].range == (0..lazy.packs[0].bytes));
    lazy.check_all(&lazy.store);
    assert_eq!(lazy.origin.requests(), []);
}

#[test]
fn stream_that_is_cut_off_goes_on_where_it_was() {
    let lazy = Lazy::new();
    lazy.origin.behave(Manner {
        knows_no_ranges: true,
        cuts: 2,
        ..Manner::default()
    });
    lazy.check_all(&lazy.store);
    let requests = lazy.origin.requests();
    assert_eq!(requests.len(), 3, "{requests:?}");
    assert!(requests[2].range.start > lazy.packs[0].bytes / 2);
}

#[test]
fn damage_in_the_cache_only_means_fetching_again() {
    let lazy = Lazy::new();
    lazy.check_all(&lazy.store);
    lazy.origin.requests();
    let file = fs::OpenOptions::new()
        .write(true)
        .open(lazy.cache())
        .unwrap();
    file.write_all_at(&[0xee; 512], 40 * CHUNK as u64).unwrap();
    file.write_all_at(&[0xee; 5000], 90 * CHUNK as u64 - 100)
        .unwrap();
    let store = lazy.reopened();
    lazy.check_all(&store);
    assert!(lazy.origin.requests().len() <= 4);
    lazy.check_all(&lazy.reopened());
    assert_eq!(lazy.origin.requests(), []);
}

#[test]
fn cache_may_be_removed_at_any_time() {
    let lazy = Lazy::new();
    lazy.check_chunk(&lazy.store, 5);
    fs::remove_dir_all(lazy.store.dir().join("cache")).unwrap();
    lazy.check_chunk(&lazy.store, 5);
    lazy.check_chunk(&lazy.store, 6);
    lazy.check_all(&lazy.reopened());
    fs::remove_dir_all(lazy.store.dir().join("cache")).unwrap();
    fs::create_dir(lazy.store.dir().join("cache")).unwrap();
    lazy.check_all(&lazy.reopened());
}

/// Refuses what would write to the cache.
#[derive(Debug)]
struct NoRoom(PathBuf);

impl Watch for NoRoom {
    fn change(&self, change: &Change<'_>) -> io::Result<()> {
        match change {
            Change::Create { path, .. } if path.starts_with(&self.0) => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }
}

#[test]
fn reads_go_on_without_room_for_a_cache() {
    let lazy = Lazy::new();
    let watch = Arc::new(NoRoom(lazy.store.dir().join("cache")));
    let with_watch = || StoreOptions {
        watch: Some(watch.clone()),
        ..options(&lazy.origin)
    };
    let store = Store::open_with(lazy.store.dir(), with_watch()).unwrap();
    lazy.check_chunk(&store, 5);
    lazy.origin.behave(Manner {
        knows_no_ranges: true,
        ..Manner::default()
    });
    let store = Store::open_with(lazy.store.dir(), with_watch()).unwrap();
    lazy.check_chunk(&store, 5);
}

#[test]
fn recorded_chunks_are_fetched_with_few_requests() {
    let lazy = Lazy::new();
    let disk = lazy.store.create_disk("d", &lazy.snapshot).unwrap();
    disk.start_recording();
    let mut chunk = 17;
    for _ in 0..60 {
        chunk = (chunk * 61 + 7) % 128;
        read_chunk(&disk, chunk);
        disk.write_at(&[1; 4096], ((chunk + 100) * CHUNK) as u64)
            .unwrap();
    }
    let recorded = disk.take_recording();
    assert!(recorded.len() > 20 && recorded[0] == (17 * 61 + 7) % 128);
    assert!(disk.take_recording().is_empty());
    let one_by_one = lazy.origin.requests().len();
    drop(disk);
    lazy.store.remove_disk("d").unwrap();
    let mut asked = recorded.clone();
    asked.extend([1 << 40, u64::MAX]);

    fs::remove_dir_all(lazy.store.dir().join("cache")).unwrap();
    let store = lazy.reopened();
    let prefetched = store
        .prefetch(&lazy.snapshot, &asked, &|| false, &())
        .unwrap();
    assert_eq!(prefetched.chunks, recorded.len() as u64);
    let wanted = recorded.len() as u64 * (CHUNK as u64 + 100);
    assert!(prefetched.bytes <= 2 * wanted, "{prefetched:?}");
    let requests = lazy.origin.requests().len();
    assert!(requests * 2 < one_by_one, "{requests} of {one_by_one}");
    let disk = store.create_disk("d", &lazy.snapshot).unwrap();
    for chunk in &recorded {
        read_chunk(&disk, usize::try_from(*chunk).unwrap());
    }
    assert_eq!(lazy.origin.requests(), []);
    assert_eq!(
        store
            .prefetch(&lazy.snapshot, &asked, &|| false, &())
            .unwrap()
            .chunks,
        0
    );
}
