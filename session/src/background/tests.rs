use std::path::Path;
use std::time::Instant;

use rootfs_store::{Registries, RegistryOptions, StoreOptions};
use testbed::{Fault, Front, Options, Registry};

use super::*;
use crate::store;
use crate::testing::store_with_image;

/// A snapshot that was pulled lazily through a front.
struct Lazy {
    _registry: Registry,
    front: Front,
    _folder: tempfile::TempDir,
    store: store::Store,
    snapshot: SnapshotDigest,
}

fn open(dir: &Path, front: &Front) -> store::Store {
    let mut registries = RegistryOptions::default();
    registries.plain_http.insert(front.host().to_owned());
    let options = StoreOptions {
        registries: Some(Registries::new(registries).unwrap()),
        ..StoreOptions::default()
    };
    store::Store::open_with(dir, options).unwrap()
}

impl Lazy {
    fn new() -> Self {
        let registry = Registry::start(&Options::default()).unwrap();
        let front = Front::start(registry.host()).unwrap();
        let (folder, store, snapshot) = store_with_image();
        let name = format!("{}/labs/disk:v1", front.host());
        let pusher = open(store.dir(), &front);
        pusher.push(snapshot, name.clone()).start().wait().unwrap();
        let store = open(&folder.path().join("lazy"), &front);
        let pull = store.pull_lazily(name, Some("disk"));
        pull.start().wait().unwrap();
        Self {
            _registry: registry,
            front,
            _folder: folder,
            store,
            snapshot,
        }
    }

    fn begin(&self) -> Background {
        let fill = Fill {
            bytes_per_second: None,
        };
        Background::begin(self.store.inner(), &self.snapshot, Some(fill))
    }

    fn is_here(&self) -> bool {
        self.store.elsewhere(self.snapshot).unwrap().is_empty()
    }

    fn is_here_within(&self, patience: Duration) -> bool {
        let begun = Instant::now();
        while !self.is_here() && begun.elapsed() < patience {
            thread::sleep(Duration::from_millis(10));
        }
        self.is_here()
    }
}

#[test]
fn rest_of_a_disk_comes_once_the_guest_has_started() {
    let lazy = Lazy::new();
    lazy.front.clear_log();
    let background = lazy.begin();
    thread::sleep(Duration::from_millis(300));
    assert!(lazy.front.log().is_empty(), "{:?}", lazy.front.log());
    background.has_started();
    assert!(lazy.is_here_within(Duration::from_secs(20)));
    drop(background);
    lazy.front.down();
    let verified = lazy.store.verify().start().wait().unwrap();
    assert!(verified.faults.is_empty() && verified.remote_packs == 0);
}

#[test]
fn end_of_a_session_ends_a_fill_that_is_under_way() {
    let lazy = Lazy::new();
    // It would take more than an hour.
    lazy.front
        .set_plan(|_, _| Some(Fault::SlowBody { bytes_per_s: 1 }));
    let background = lazy.begin();
    background.has_started();
    let begun = Instant::now();
    while lazy.store.remote_stats().requests == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(10));
    }
    let begun = Instant::now();
    drop(background);
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(!lazy.is_here());
    // What came stays of use.
    lazy.front.clear_plan();
    let fill = lazy.store.fill(lazy.snapshot, None);
    fill.start().wait().unwrap();
    assert!(lazy.is_here());
}

#[test]
fn end_of_a_session_ends_a_fill_that_waits_for_the_start() {
    let lazy = Lazy::new();
    lazy.front.clear_log();
    let begun = Instant::now();
    for is_ready in [false, true] {
        let background = lazy.begin();
        if is_ready {
            background.is_ready();
        }
        drop(background);
    }
    assert!(begun.elapsed() < START_PATIENCE / 2);
    assert!(lazy.front.log().is_empty());
}
