//! Code of embedders that panics: what it was called for ends, and nobody waits for it for ever.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rootfs_store::{FillOptions, Progress, Stage, Store, StoreOptions};

use super::Lazy;
use super::origin::{Manner, ORIGIN, options};

/// Longer than anything here takes.
const FOR_EVER: Duration = Duration::from_secs(60);

/// What `run` panics with; fails if it does not end.
fn panic_of(run: impl FnOnce() + Send) -> String {
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            let ended = catch_unwind(AssertUnwindSafe(run));
            sender.send(ended).unwrap();
        });
        let Ok(ended) = receiver.recv_timeout(FOR_EVER) else {
            // The scope would wait for it.
            eprintln!("it hangs");
            std::process::abort();
        };
        text(&*ended.unwrap_err())
    })
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap()
}

#[test]
fn readers_go_on_after_an_origin_that_panicked() {
    for knows_no_ranges in [false, true] {
        let lazy = Lazy::new();
        // A panic takes its time to tell where it comes from.
        let patient = StoreOptions {
            read_patience: FOR_EVER,
            ..options(&lazy.origin)
        };
        let store = Store::open_with(lazy.store.dir(), patient).unwrap();
        lazy.check_chunk(&store, 0);
        lazy.origin.behave(Manner {
            knows_no_ranges,
            panics: 1,
            piece: Some(16 << 10),
            pause: Duration::from_millis(5),
            ..Manner::default()
        });
        lazy.origin.requests();
        thread::scope(|scope| {
            let (lazy, store) = (&lazy, &store);
            let fetch = move || {
                let chunks = [50, 51, 52, 53, 54];
                store
                    .prefetch(&lazy.snapshot, &chunks, &|| false, &())
                    .unwrap();
            };
            let fetch = scope.spawn(move || panic_of(fetch));
            lazy.origin.wait_for_request();
            // Waits for that fetch.
            lazy.check_chunk(store, 54);
            assert!(fetch.join().unwrap().contains(ORIGIN));
        });
        lazy.origin.behave(Manner {
            knows_no_ranges,
            ..Manner::default()
        });
        lazy.check_all(&store);
    }
}

#[test]
fn fill_goes_on_after_an_origin_that_panicked() {
    let lazy = Lazy::new();
    lazy.origin.behave(Manner {
        panics: usize::MAX,
        ..Manner::default()
    });
    let fill = || {
        drop(
            lazy.store
                .fill(&lazy.snapshot, &FillOptions::default(), &()),
        )
    };
    let panicked = panic_of(fill);
    assert!(panicked.contains(ORIGIN), "{panicked}");
    lazy.origin.behave(Manner::default());
    let filled = lazy
        .store
        .fill(&lazy.snapshot, &FillOptions::default(), &());
    assert_eq!(filled.unwrap().packs, 1);
}

/// Panics when it is told of more than so many bytes.
struct Panics(u64);

impl Progress for Panics {
    fn advance(&self, _: Stage, done: u64, _: u64) {
        assert!(done <= self.0, "no progress is wanted");
    }
}

#[test]
fn fill_ends_with_the_panic_of_what_it_tells_or_asks() {
    let lazy = Lazy::new();
    let told = || {
        drop(
            lazy.store
                .fill(&lazy.snapshot, &FillOptions::default(), &Panics(3 << 20)),
        )
    };
    assert_eq!(panic_of(told), "no progress is wanted");
    let options = FillOptions {
        is_cancelled: &|| panic!("nothing is known"),
        ..FillOptions::default()
    };
    let asked = || drop(lazy.store.fill(&lazy.snapshot, &options, &()));
    assert_eq!(panic_of(asked), "nothing is known");
    let filled = lazy
        .store
        .fill(&lazy.snapshot, &FillOptions::default(), &());
    assert!(filled.unwrap().fetched_bytes < lazy.packs[0].bytes);
}

#[test]
fn prefetch_ends_with_the_panic_of_what_it_tells() {
    let lazy = Lazy::new();
    let chunks: Vec<u64> = (0..200).step_by(20).collect();
    let fetch = || {
        drop(
            lazy.store
                .prefetch(&lazy.snapshot, &chunks, &|| false, &Panics(0)),
        )
    };
    assert_eq!(panic_of(fetch), "no progress is wanted");
    lazy.check_all(&lazy.store);
}
