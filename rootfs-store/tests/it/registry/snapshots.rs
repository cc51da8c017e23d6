//! Snapshots that are pushed to registries and pulled from them.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rootfs_store::{
    BootProfile, FillOptions, ImportOptions, Progress, PullError, PullOptions, PushError, Pushed,
    SnapshotDigest, Stage, Store,
};
use testbed::{Auth, Fault, Front, Options, Registry, TokenRules};

use super::{Bed, chain, docker, is_empty, reference, skopeo};
use crate::sample_image::{self, Sample};

pub(super) const DISK_BYTES: u64 = 16 << 20;

/// Bytes that don't compress, different for each number.
pub(super) fn noise(number: u64, len: usize) -> Vec<u8> {
    let mut state = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(len / 8).flatten().collect()
}

/// A snapshot of a sample image.
pub(super) fn base(bed: &Bed, store: &Store) -> SnapshotDigest {
    let image = sample_image::write(&bed.path("image"), &Sample::default());
    let options = ImportOptions {
        disk_bytes: Some(DISK_BYTES),
        ..ImportOptions::default()
    };
    let imported = store.import(&image, &options, &()).unwrap();
    store.set_name("base", &imported.snapshot).unwrap();
    imported.snapshot
}

/// A snapshot with `bytes` written over another.
pub(super) fn changed(store: &Store, on: &SnapshotDigest, at: u64, bytes: &[u8]) -> SnapshotDigest {
    let disk = store.create_disk("change", on).unwrap();
    disk.write_at(bytes, at).unwrap();
    disk.set_boot_profile(BootProfile::of([1, 0]));
    let committed = store.commit(&disk, &()).unwrap();
    store.set_name("changed", &committed.snapshot).unwrap();
    drop(disk);
    store.remove_disk("change").unwrap();
    committed.snapshot
}

pub(super) fn exported(store: &Store, snapshot: &SnapshotDigest, dir: &Path) -> Vec<u8> {
    let file = dir.join("exported");
    drop(fs::remove_file(&file));
    store.export(snapshot, &file, &()).unwrap();
    fs::read(file).unwrap()
}

pub(super) fn pull(
    store: &Store,
    host: &str,
    name: &str,
    lazy: bool,
) -> Result<SnapshotDigest, PullError> {
    let mut options = PullOptions::default();
    options.lazy = lazy;
    let pulled = store.pull(&reference(host, name), &options, &())?;
    store.set_name("pulled", &pulled.snapshot).unwrap();
    Ok(pulled.snapshot)
}

pub(super) fn push(store: &Store, snapshot: &SnapshotDigest, host: &str, name: &str) -> Pushed {
    store.push(snapshot, &reference(host, name), &()).unwrap()
}

#[test]
fn snapshot_comes_back_whole_and_lazily_by_any_login() {
    let short = TokenRules {
        lifetime: Duration::from_secs(1),
        ..TokenRules::default()
    };
    for (tls, auth) in [
        (false, Auth::None),
        (true, Auth::Password),
        (false, Auth::Token(short)),
    ] {
        let bed = Bed::new(&Options {
            tls,
            auth,
            ..Options::default()
        });
        let host = bed.registry.host();
        let store = bed.store("store", &[]);
        let snapshot = changed(&store, &base(&bed, &store), 8 << 20, &noise(1, 1 << 20));
        let pushed = push(&store, &snapshot, host, "labs/disk:v1");
        assert_eq!((pushed.found_blobs, pushed.mounted_blobs), (0, 0));
        let expected = exported(&store, &snapshot, bed.dir.path());
        for lazy in [false, true] {
            let other = bed.store(&format!("lazy-{lazy}"), &[]);
            assert_eq!(pull(&other, host, "labs/disk:v1", lazy).unwrap(), snapshot);
            assert_eq!(other.elsewhere(&snapshot).unwrap().is_empty(), !lazy);
            assert_eq!(exported(&other, &snapshot, bed.dir.path()), expected);
            let profile = other.snapshot(&snapshot).unwrap().profile.unwrap();
            assert_eq!(
                profile.bytes,
                BootProfile::of([1, 0]).to_bytes().len() as u64
            );
            assert!(other.verify(&()).unwrap().faults.is_empty());
            other
                .fill(&snapshot, &rootfs_store::FillOptions::default(), &())
                .unwrap();
            assert!(other.elsewhere(&snapshot).unwrap().is_empty());
            assert!(other.verify(&()).unwrap().faults.is_empty());
        }
    }
}

#[test]
fn push_sends_only_what_the_registry_lacks() {
    let bed = Bed::plain();
    let front = Front::start(bed.registry.host()).unwrap();
    let store = bed.store("store", &[front.host()]);
    let base = base(&bed, &store);
    let first = push(&store, &base, front.host(), "labs/disk:v1");
    assert!(first.sent_blobs >= 2);
    // The same again: nothing but questions.
    front.clear_log();
    let again = push(&store, &base, front.host(), "labs/disk:v1");
    assert_eq!((again.sent_blobs, again.sent_bytes), (0, 0));
    assert!(
        front.log().iter().all(|seen| seen.method == "HEAD"),
        "{:?}",
        front.log()
    );
    // By another tag, the manifest only.
    front.clear_log();
    assert_eq!(
        push(&store, &base, front.host(), "labs/disk:v2").sent_blobs,
        0
    );
    assert!(
        front
            .log()
            .iter()
            .all(|seen| seen.method == "HEAD" || seen.is_manifest())
    );
    // After a change, what changed.
    let snapshot = changed(&store, &base, 8 << 20, &noise(1, 256 << 10));
    front.clear_log();
    let pushed = push(&store, &snapshot, front.host(), "labs/disk:v2");
    let sent: u64 = front.log().iter().map(|seen| seen.from_client).sum();
    let new = store
        .snapshot(&snapshot)
        .unwrap()
        .packs
        .last()
        .unwrap()
        .bytes;
    assert!(sent <= new * 11 / 10, "{sent} of {new}");
    assert!(pushed.found_blobs >= 1 && pushed.sent_bytes <= sent);
    // To another repository, by way of the first.
    let mounted = push(&store, &snapshot, front.host(), "other/disk:v1");
    assert_eq!(mounted.mounted_blobs, 2);
    assert!(mounted.sent_bytes < 10_000);
}

/// Every fault at every request of a push: it comes through, or fails in words; what is there then is whole, and a second
/// push works.
#[test]
fn push_survives_any_fault_at_any_request() {
    let bed = Bed::plain();
    let front = Front::start(bed.registry.host()).unwrap();
    let store = bed.store("store", &[front.host()]);
    let snapshot = changed(&store, &base(&bed, &store), 8 << 20, &noise(1, 64 << 10));
    push(&store, &snapshot, front.host(), "count/disk:v1");
    let count = front.log().len() as u64;
    let faults = [
        Fault::DropBefore,
        Fault::DropAfter,
        Fault::CutRequest(100),
        Fault::Status(400),
        Fault::Status(404),
        Fault::ServerError(500),
        Fault::Status(503),
        Fault::TooManyRequests { retry_after_s: 0 },
        Fault::Unauthorized,
        Fault::WrongUploadRange,
        Fault::NoHead(405),
        Fault::WrongDigest,
        Fault::RedirectTo("http://127.0.0.1:1/".to_owned()),
    ];
    let mut number = 0;
    for fault in &faults {
        for at in 0..count {
            number += 1;
            let name = format!("run-{number}/disk:v1");
            fail_once(&front, fault, at);
            let pushed = store.push(&snapshot, &reference(front.host(), &name), &());
            front.clear_plan();
            if let Err(error) = pushed {
                assert!(chain(&error).contains(front.host()), "{}", chain(&error));
                // No manifest without its blobs: the registry itself would refuse that.
                let fresh = bed.store(&format!("partial-{number}"), &[front.host()]);
                if pull(&fresh, front.host(), &name, false).is_err() {
                    push(&store, &snapshot, front.host(), &name);
                }
                fs::remove_dir_all(fresh.dir()).unwrap();
            }
            let fresh = bed.store("fresh", &[front.host()]);
            let pulled = pull(&fresh, front.host(), &name, false);
            let pulled =
                pulled.unwrap_or_else(|error| panic!("{fault:?} at {at}: {}", chain(&error)));
            assert_eq!(pulled, snapshot);
            fs::remove_dir_all(fresh.dir()).unwrap();
        }
    }
}

/// Every fault at every request of a pull: it comes through, or fails in words and leaves no snapshot; a second pull
/// works, and nothing is wrong in the store.
#[test]
fn pull_survives_any_fault_at_any_request() {
    let bed = Bed::plain();
    let front = Front::start(bed.registry.host()).unwrap();
    let store = bed.store("store", &[front.host()]);
    let snapshot = changed(&store, &base(&bed, &store), 8 << 20, &noise(1, 512 << 10));
    push(&store, &snapshot, front.host(), "labs/disk:v1");
    let expected = exported(&store, &snapshot, bed.dir.path());
    front.clear_log();
    pull(
        &bed.store("count", &[front.host()]),
        front.host(),
        "labs/disk:v1",
        false,
    )
    .unwrap();
    let count = front.log().len() as u64;
    let mut faults = faults_of_reads();
    faults.push(Fault::WrongDigest);
    for fault in &faults {
        for at in 0..count {
            let fresh = bed.store("fresh", &[front.host()]);
            fail_once(&front, fault, at);
            let pulled = pull(&fresh, front.host(), "labs/disk:v1", false);
            front.clear_plan();
            if let Err(error) = &pulled {
                assert!(chain(error).contains(front.host()), "{}", chain(error));
                assert!(fresh.snapshot(&snapshot).is_err(), "{fault:?} at {at}");
                assert!(fresh.verify(&()).unwrap().faults.is_empty());
                let again = pull(&fresh, front.host(), "labs/disk:v1", false);
                again.unwrap_or_else(|error| panic!("{fault:?} at {at}: {}", chain(&error)));
            }
            assert_eq!(exported(&fresh, &snapshot, bed.dir.path()), expected);
            assert!(fresh.verify(&()).unwrap().faults.is_empty());
            fs::remove_dir_all(fresh.dir()).unwrap();
        }
    }
}

/// What can be wrong with an answer that bytes of snapshots are read from.
pub(super) fn faults_of_reads() -> Vec<Fault> {
    vec![
        Fault::DropBefore,
        Fault::DropAfter,
        Fault::TruncateBody(1000),
        Fault::CorruptBody(500),
        Fault::Status(404),
        Fault::ServerError(500),
        Fault::Status(503),
        Fault::TooManyRequests { retry_after_s: 0 },
        Fault::Unauthorized,
        Fault::IgnoreRange,
        Fault::WrongContentRange,
        Fault::RangeNotSatisfiable,
        Fault::LyingLength(-1),
        Fault::LyingLength(1),
    ]
}

fn fail_once(front: &Front, fault: &Fault, at: u64) {
    let (seen, fault) = (AtomicU64::new(0), fault.clone());
    front.set_plan(move |_, _| (seen.fetch_add(1, Ordering::Relaxed) == at).then(|| fault.clone()));
}

/// Run, shut down, push; pull elsewhere, change, push; the first one pulls again and sees it.
#[test]
fn two_hosts_hand_a_disk_to_and_fro() {
    let bed = Bed::plain();
    let host = bed.registry.host();
    let (one, two) = (bed.store("one", &[]), bed.store("two", &[]));
    let first = changed(&one, &base(&bed, &one), 8 << 20, &noise(1, 128 << 10));
    push(&one, &first, host, "labs/disk:latest");
    assert_eq!(pull(&two, host, "labs/disk:latest", true).unwrap(), first);
    let second = changed(&two, &first, (8 << 20) + (64 << 10), &noise(2, 128 << 10));
    // Packs that the second one never had need not come through it.
    let pushed = push(&two, &second, host, "labs/disk:latest");
    assert!(pushed.sent_bytes < 200 << 10, "{pushed:?}");
    assert!(!two.elsewhere(&second).unwrap().is_empty());
    assert_eq!(pull(&one, host, "labs/disk:latest", false).unwrap(), second);
    let bytes = exported(&one, &second, bed.dir.path());
    let at = 8 << 20;
    assert!(bytes[at..at + (64 << 10)] == noise(1, 128 << 10)[..64 << 10]);
    assert!(bytes[at + (64 << 10)..at + (192 << 10)] == noise(2, 128 << 10));
}

/// A lazily pulled snapshot goes to a registry that lacks its packs: they are fetched, then sent, and both is said.
#[test]
fn packs_that_are_elsewhere_are_passed_on_to_another_registry() {
    #[derive(Default)]
    struct Told(Mutex<Vec<(Stage, u64, u64)>>);
    impl Progress for Told {
        fn advance(&self, stage: Stage, done: u64, total: u64) {
            self.0.lock().unwrap().push((stage, done, total));
        }
    }
    let bed = Bed::plain();
    let beside = Registry::start(&Options::default()).unwrap();
    let one = bed.store("one", &[]);
    let snapshot = changed(&one, &base(&bed, &one), 8 << 20, &noise(1, 128 << 10));
    push(&one, &snapshot, bed.registry.host(), "labs/disk:v1");
    let two = bed.store("two", &[beside.host()]);
    pull(&two, bed.registry.host(), "labs/disk:v1", true).unwrap();
    let told = Told::default();
    let to = reference(beside.host(), "labs/disk:v1");
    two.push(&snapshot, &to, &told).unwrap();
    let told = told.0.into_inner().unwrap();
    let packs = two.snapshot(&snapshot).unwrap().packs_bytes();
    let fetched = told.iter().rposition(|it| it.0 == Stage::Fetch).unwrap();
    let sent = told.iter().position(|it| it.0 == Stage::Push).unwrap();
    assert!(fetched < sent, "{told:?}");
    assert_eq!(told[fetched], (Stage::Fetch, packs, packs));
    let (last, done, total) = told.last().unwrap();
    assert!(
        *last == Stage::Push && done == total && *total > packs,
        "{told:?}"
    );
    let three = bed.store("three", &[beside.host()]);
    assert_eq!(
        pull(&three, beside.host(), "labs/disk:v1", false).unwrap(),
        snapshot
    );
}

#[test]
fn snapshot_survives_a_copy_to_another_registry_and_the_garbage_collection_of_both() {
    let bed = Bed::plain();
    let beside = Registry::start(&Options::default()).unwrap();
    let store = bed.store("store", &[]);
    let base = base(&bed, &store);
    let snapshot = changed(&store, &base, 8 << 20, &noise(1, 128 << 10));
    push(&store, &base, bed.registry.host(), "labs/disk:v1");
    push(&store, &snapshot, bed.registry.host(), "labs/disk:v1");
    let name = |registry: &Registry, name: &str| format!("docker://{}/{name}", registry.host());
    let (here, there) = (
        name(&bed.registry, "labs/disk:v1"),
        name(&beside, "copied/disk:v1"),
    );
    skopeo(&bed.registry, &["copy", "--all", &here, &there]);
    // The first snapshot has no tag any more; what the second needs of it stays.
    bed.registry.garbage_collect_untagged().unwrap();
    beside.garbage_collect().unwrap();
    let back = name(&bed.registry, "back/disk:v1");
    skopeo(&bed.registry, &["copy", "--all", &there, &back]);
    let expected = exported(&store, &snapshot, bed.dir.path());
    for (number, (host, name)) in [
        (bed.registry.host(), "labs/disk:v1"),
        (beside.host(), "copied/disk:v1"),
        (bed.registry.host(), "back/disk:v1"),
    ]
    .into_iter()
    .enumerate()
    {
        let other = bed.store(&format!("other-{number}"), &[beside.host()]);
        assert_eq!(pull(&other, host, name, number == 1).unwrap(), snapshot);
        assert_eq!(exported(&other, &snapshot, bed.dir.path()), expected);
    }
}

#[test]
fn registry_that_goes_away_and_comes_back_loses_nothing() {
    let bed = Bed::plain();
    let front = Front::start(bed.registry.host()).unwrap();
    let store = bed.store("store", &[front.host()]);
    let snapshot = changed(&store, &base(&bed, &store), 8 << 20, &noise(1, 1 << 20));
    push(&store, &snapshot, front.host(), "labs/disk:v1");
    let lazy = bed.store_that_waits("lazy", &[front.host()], Duration::from_secs(1));
    pull(&lazy, front.host(), "labs/disk:v1", true).unwrap();
    let disk = lazy.create_disk("d", &snapshot).unwrap();
    let mut buffer = vec![0; 4096];
    disk.read_at(&mut buffer, 8 << 20).unwrap();
    let expected = noise(1, 1 << 20);
    assert!(buffer == expected[..4096]);
    front.down();
    // What was read is there; what was not is an error that names the pack and its origin.
    disk.read_at(&mut buffer, 8 << 20).unwrap();
    let error = disk
        .read_at(&mut buffer, (8 << 20) + (640 << 10))
        .unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains(front.host()) && text.contains("sha256:"),
        "{text}"
    );
    front.up().unwrap();
    disk.read_at(&mut buffer, (8 << 20) + (640 << 10)).unwrap();
    assert!(buffer == expected[640 << 10..][..4096]);
}

#[test]
fn what_is_no_snapshot_is_said() {
    let bed = Bed::plain();
    let image = sample_image::write(&bed.path("image"), &Sample::default());
    bed.upload(&image, "labs/image:v1");
    let store = bed.store("store", &[]);
    let host = bed.registry.host();
    let error = pull(&store, host, "labs/image:v1", false).unwrap_err();
    assert!(matches!(error, PullError::NoSnapshot { .. }), "{error:?}");
    let error = pull(&store, host, "labs/nothing:v1", false).unwrap_err();
    assert!(matches!(error, PullError::Registry { .. }), "{error:?}");
    assert!(chain(&error).contains("labs/nothing"), "{}", chain(&error));
    let base = base(&bed, &store);
    push(&store, &base, host, "labs/disk:v1");
    let error = store.import(
        &docker(host, "labs/disk:v1"),
        &ImportOptions::default(),
        &(),
    );
    let text = chain(&error.unwrap_err());
    assert!(text.contains("container image config"), "{text}");
    let other = reference(host, &format!("labs/disk@sha256:{}", "0".repeat(64)));
    let error = store.push(&base, &other, &()).unwrap_err();
    assert!(matches!(error, PushError::OtherDigest { .. }), "{error:?}");
}

/// A pack that is damaged here is not sent, and it is the pack that is named.
#[test]
fn damaged_pack_is_blamed_when_the_registry_refuses_it() {
    let bed = Bed::plain();
    let store = bed.store("store", &[]);
    let base = base(&bed, &store);
    let pack = store.snapshot(&base).unwrap().packs[0].digest.to_string();
    let file = store.dir().join("blobs/sha256").join(&pack[7..]);
    let mut bytes = fs::read(&file).unwrap();
    bytes[100] ^= 1;
    fs::remove_file(&file).unwrap();
    fs::write(&file, bytes).unwrap();
    let to = reference(bed.registry.host(), "labs/disk:v1");
    let error = store.push(&base, &to, &()).unwrap_err();
    assert!(chain(&error).contains(&pack), "{}", chain(&error));
    let fresh = bed.store("fresh", &[]);
    pull(&fresh, bed.registry.host(), "labs/disk:v1", false).unwrap_err();
}

/// Whether a request is for a blob as a whole, or for much of it.
fn is_stream(seen: &testbed::Seen) -> bool {
    let ends = seen.range.as_deref().and_then(|range| {
        let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some(start.parse::<u64>().ok()?..end.parse::<u64>().ok()?)
    });
    let is_blob = seen.method == "GET" && seen.path.contains("/blobs/");
    is_blob && ends.is_none_or(|range| range.end - range.start > 1 << 20)
}

/// Transfers that stall don't keep a guest's read waiting, however few requests there may be at once.
#[test]
fn read_gets_in_while_a_fill_from_a_slow_registry_holds_all_other_requests() {
    let bed = Bed::plain();
    let front = Front::start(bed.registry.host()).unwrap();
    let store = bed.store("store", &[front.host()]);
    let first = changed(&store, &base(&bed, &store), 8 << 20, &noise(1, 4 << 20));
    let snapshot = changed(&store, &first, 12 << 20, &noise(2, 3 << 20));
    push(&store, &snapshot, front.host(), "labs/disk:v1");
    let mut options = bed.options();
    options.plain_http.insert(front.host().to_owned());
    options.parallel = 2;
    let lazy = bed.store_with("lazy", options);
    pull(&lazy, front.host(), "labs/disk:v1", true).unwrap();
    let disk = lazy.create_disk("d", &snapshot).unwrap();
    front.set_plan(|_, seen| {
        let stall = Fault::StallBody {
            at: 1000,
            pause: Duration::from_secs(60),
        };
        is_stream(seen).then_some(stall)
    });
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let fill = scope.spawn(|| {
            let options = FillOptions {
                is_cancelled: &|| is_over.load(Ordering::Relaxed),
                ..FillOptions::default()
            };
            lazy.fill(&snapshot, &options, &())
        });
        while !front.log().iter().any(|seen| seen.fault.is_some()) {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(300));
        let (begun, mut buffer) = (Instant::now(), vec![0; 4096]);
        let read = disk.read_at(&mut buffer, 8 << 20);
        let took = begun.elapsed();
        is_over.store(true, Ordering::Relaxed);
        read.unwrap();
        assert!(buffer == noise(1, 4 << 20)[..4096]);
        // The stalled requests are given up after five seconds.
        assert!(took < Duration::from_secs(4), "{took:?}");
        front.clear_plan();
        drop(fill.join().unwrap());
    });
}

/// Two pulls at once share what comes, and both have it all.
#[test]
fn two_pulls_at_once_fetch_a_pack_once() {
    let bed = Bed::plain();
    let front = Front::start(bed.registry.host()).unwrap();
    let store = bed.store("store", &[front.host()]);
    let snapshot = changed(&store, &base(&bed, &store), 8 << 20, &noise(1, 4 << 20));
    push(&store, &snapshot, front.host(), "labs/disk:v1");
    let fresh = Arc::new(bed.store("fresh", &[front.host()]));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (fresh, host) = (Arc::clone(&fresh), front.host());
            scope.spawn(move || pull(&fresh, host, "labs/disk:v1", false).unwrap());
        }
    });
    assert!(fresh.verify(&()).unwrap().faults.is_empty());
    assert!(fresh.elsewhere(&snapshot).unwrap().is_empty());
    assert!(is_empty(&fresh.dir().join("remote")));
}
