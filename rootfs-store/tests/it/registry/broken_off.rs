//! Transfers that fail or are cancelled while a part of them waits for a registry that says nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rootfs_store::{
    FillOptions, ImageReference, ImportOptions, Progress, SnapshotDigest, Stage, Store, StoreError,
};
use testbed::{Fault, Front};

use super::images::{last_layer, sample};
use super::snapshots::{base, changed, noise, pull, push};
use super::{Bed, chain, docker, is_empty, reference};

/// How long registries say nothing, and clients wait for them.
const SILENCE: Duration = Duration::from_secs(60);
/// What an end may take, even on a busy machine.
const SOON: Duration = Duration::from_secs(15);

/// A store that waits for the silent for longer than any of these tests may take.
fn patient_store(bed: &Bed, name: &str, front: &Front) -> Store {
    let mut options = bed.options();
    options.plain_http.insert(front.host().to_owned());
    options.idle_timeout = SILENCE;
    bed.store_with(name, options)
}

/// An image in the registry, a front before it, and the digest of the image's last layer.
fn image(bed: &Bed) -> (Front, ImageReference, String) {
    let local = sample(bed, "tar");
    bed.upload(&local, "labs/app:v1");
    let front = Front::start(bed.registry.host()).unwrap();
    let reference = docker(front.host(), "labs/app:v1");
    (front, reference, last_layer(&bed.path("tar")))
}

/// A store with a snapshot whose packs are behind a front.
fn pulled_lazily(bed: &Bed, front: &Front) -> (Store, SnapshotDigest) {
    let store = patient_store(bed, "store", front);
    let snapshot = changed(&store, &base(bed, &store), 8 << 20, &noise(1, 512 << 10));
    push(&store, &snapshot, front.host(), "labs/disk:v1");
    let lazy = patient_store(bed, "lazy", front);
    pull(&lazy, front.host(), "labs/disk:v1", true).unwrap();
    (lazy, snapshot)
}

/// Does something that must not wait for those who are silent.
fn ends_soon<T>(work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    done
}

fn stalled(at: u64) -> Option<Fault> {
    let pause = SILENCE;
    Some(Fault::StallBody { at, pause })
}

#[test]
fn import_ends_at_once_when_a_layer_is_damaged_and_another_stalls() {
    let bed = Bed::plain();
    let (front, reference, last) = image(&bed);
    let store = patient_store(&bed, "store", &front);
    front.set_plan(move |_, seen| match seen.path.ends_with(&last) {
        true => stalled(600),
        // The image's documents are small.
        false => seen.is_blob().then_some(Fault::CorruptBody(200_000)),
    });
    let error = ends_soon(|| store.import(&reference, &ImportOptions::default(), &())).unwrap_err();
    assert!(!chain(&error).contains("nobody waits"), "{}", chain(&error));
    // The damaged layer comes anew, the other one goes on.
    front.clear_plan();
    front.clear_log();
    store
        .import(&reference, &ImportOptions::default(), &())
        .unwrap();
    let ranges: Vec<_> = front.log().into_iter().filter_map(|it| it.range).collect();
    assert!(
        ranges.len() == 1 && ranges[0].starts_with("bytes=600-"),
        "{ranges:?}"
    );
    assert!(is_empty(&store.dir().join("downloads")));
}

/// Whoever reads the first layer need not wait for it when another one will never come.
#[test]
fn import_ends_at_once_when_a_layer_is_refused_and_another_stalls() {
    let bed = Bed::plain();
    let (front, reference, last) = image(&bed);
    let store = patient_store(&bed, "store", &front);
    let (refused, is_first) = (last.clone(), AtomicBool::new(true));
    front.set_plan(move |_, seen| match seen.path.ends_with(&refused) {
        // So that something of the other layer comes before.
        true if is_first.swap(false, Ordering::Relaxed) => {
            Some(Fault::TooManyRequests { retry_after_s: 1 })
        }
        true => Some(Fault::Status(403)),
        false => seen.is_blob().then(|| stalled(100_000)).flatten(),
    });
    let error = ends_soon(|| store.import(&reference, &ImportOptions::default(), &())).unwrap_err();
    assert!(chain(&error).contains(&last), "{}", chain(&error));
    front.clear_plan();
    front.clear_log();
    store
        .import(&reference, &ImportOptions::default(), &())
        .unwrap();
    assert!(front.log().iter().any(|seen| seen.range.is_some()));
}

#[test]
fn panic_of_a_progress_goes_on_to_the_caller_while_a_layer_stalls() {
    struct Panics;
    impl Progress for Panics {
        fn advance(&self, stage: Stage, _done: u64, _total: u64) {
            assert!(stage != Stage::Layers, "as embedders may");
        }
    }
    let bed = Bed::plain();
    let (front, reference, last) = image(&bed);
    let store = patient_store(&bed, "store", &front);
    front.set_plan(move |_, seen| seen.path.ends_with(&last).then(|| stalled(600)).flatten());
    let import = || store.import(&reference, &ImportOptions::default(), &Panics);
    ends_soon(|| catch_unwind(AssertUnwindSafe(import))).unwrap_err();
}

#[test]
fn fill_that_is_cancelled_does_not_wait_for_what_stalls() {
    let bed = Bed::plain();
    let front = Front::start(bed.registry.host()).unwrap();
    let (lazy, snapshot) = pulled_lazily(&bed, &front);
    front.clear_log();
    front.set_plan(|_, seen| seen.is_blob().then(|| stalled(1000)).flatten());
    let options = FillOptions {
        is_cancelled: &|| front.log().iter().any(|seen| seen.to_client == 1000),
        ..FillOptions::default()
    };
    let error = ends_soon(|| lazy.fill(&snapshot, &options, &())).unwrap_err();
    assert!(chain(&error).contains("cancelled"), "{}", chain(&error));
    front.clear_plan();
    lazy.fill(&snapshot, &FillOptions::default(), &()).unwrap();
    assert!(lazy.verify(&()).unwrap().faults.is_empty());
}

#[test]
fn fill_ends_at_once_when_a_pack_is_refused_and_another_stalls() {
    let bed = Bed::plain();
    let front = Front::start(bed.registry.host()).unwrap();
    let (lazy, snapshot) = pulled_lazily(&bed, &front);
    let packs = lazy.snapshot(&snapshot).unwrap().packs;
    assert!(packs.len() >= 2, "{packs:?}");
    let refused = packs[0].digest.to_string();
    let shown = refused.clone();
    front.set_plan(move |_, seen| match seen.path.ends_with(&refused) {
        true => Some(Fault::Status(403)),
        false => seen.is_blob().then(|| stalled(1000)).flatten(),
    });
    let error = ends_soon(|| lazy.fill(&snapshot, &FillOptions::default(), &())).unwrap_err();
    assert!(matches!(error, StoreError::Remote(_)), "{error:?}");
    assert!(chain(&error).contains(&shown), "{}", chain(&error));
}

#[test]
fn push_ends_at_once_when_a_blob_is_refused_and_another_stalls() {
    let bed = Bed::plain();
    let front = Front::start(bed.registry.host()).unwrap();
    let store = patient_store(&bed, "store", &front);
    let snapshot = changed(&store, &base(&bed, &store), 8 << 20, &noise(1, 512 << 10));
    let is_first = AtomicBool::new(true);
    front.set_plan(move |_, seen| match seen.method.as_str() {
        "PUT" if is_first.swap(false, Ordering::Relaxed) => Some(Fault::Stall(SILENCE)),
        "PUT" => Some(Fault::Status(403)),
        _ => None,
    });
    let to = reference(front.host(), "labs/disk:v1");
    let error = ends_soon(|| store.push(&snapshot, &to, &())).unwrap_err();
    assert!(chain(&error).contains("denied"), "{}", chain(&error));
    front.clear_plan();
    push(&store, &snapshot, front.host(), "labs/disk:v1");
}

/// A layer that comes byte by byte is asked for again from where it is, and given up at last.
#[test]
fn layer_that_trickles_is_resumed_and_given_up_if_it_goes_on_so() {
    let bed = Bed::plain();
    let (front, reference, last) = image(&bed);
    let mut options = bed.options();
    options.plain_http.insert(front.host().to_owned());
    options.idle_timeout = Duration::from_secs(1);
    options.retry.attempts = 3;
    let store = bed.store_with("store", options);
    front.set_plan(move |_, seen| {
        let is_last = seen.path.ends_with(&last);
        is_last.then_some(Fault::SlowBody { bytes_per_s: 20 })
    });
    let error = ends_soon(|| store.import(&reference, &ImportOptions::default(), &())).unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains("after 3 attempts") && text.contains("bytes passed in"),
        "{text}"
    );
    front.clear_plan();
    front.clear_log();
    store
        .import(&reference, &ImportOptions::default(), &())
        .unwrap();
    assert!(front.log().iter().any(|seen| seen.range.is_some()));
}
