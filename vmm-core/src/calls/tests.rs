use std::sync::atomic::AtomicU32;
use std::thread;

use super::*;

/// Looks at calls by a clock of its own, which shows seconds.
struct Bench {
    slow: SlowCalls,
    begin: Instant,
    woken: Arc<AtomicU32>,
}

impl Bench {
    fn new() -> Self {
        let woken = Arc::<AtomicU32>::default();
        let count = Arc::clone(&woken);
        Self {
            slow: SlowCalls::new(move || {
                count.fetch_add(1, Ordering::Relaxed);
            }),
            begin: Instant::now(),
            woken,
        }
    }

    fn at(&self, second: u64) -> Instant {
        self.begin + Duration::from_secs(second)
    }

    /// The threads that are told of, and for how many seconds they have waited.
    fn look(&mut self, second: u64) -> Vec<(String, u64)> {
        let events = self.slow.look(self.at(second));
        let told = events.into_iter().map(|event| match event {
            Event::BackendSlow {
                thread, elapsed, ..
            } => (thread, elapsed.as_secs()),
            other => panic!("{other:?}"),
        });
        told.collect()
    }

    fn woken(&self) -> u32 {
        self.woken.load(Ordering::Relaxed)
    }
}

fn nothing() -> Vec<(String, u64)> {
    Vec::new()
}

#[test]
fn each_call_that_does_not_return_is_told_once_after_five_seconds() {
    let mut bench = Bench::new();
    let calls = bench.slow.of_thread("vm-block0".into(), Backend::Drive(0));
    for begin in [0, 100] {
        calls.make(|| {
            assert_eq!(bench.look(begin), nothing());
            assert_eq!(bench.look(begin + 4), nothing());
            assert_eq!(bench.look(begin + 6), [("vm-block0".to_owned(), 6)]);
            assert_eq!(bench.look(begin + 7), nothing());
            assert_eq!(bench.look(begin + 90), nothing());
        });
    }
}

#[test]
fn a_thread_that_always_is_in_some_call_is_not_taken_for_one_that_hangs() {
    let mut bench = Bench::new();
    let calls = bench.slow.of_thread("vm-block0".into(), Backend::Drive(0));
    for second in 0..30 {
        calls.make(|| assert_eq!(bench.look(second), nothing()));
    }
}

#[test]
fn threads_are_told_apart() {
    let mut bench = Bench::new();
    let first = bench.slow.of_thread("vm-block0".into(), Backend::Drive(0));
    let second = bench.slow.of_thread("vm-net0".into(), Backend::Net(0));
    first.make(|| {
        assert_eq!(bench.look(0), nothing());
        second.make(|| {
            assert_eq!(bench.look(3), nothing());
            assert_eq!(bench.look(5), [("vm-block0".to_owned(), 5)]);
            assert_eq!(bench.look(8), [("vm-net0".to_owned(), 5)]);
        });
    });
}

#[test]
fn who_looks_is_woken_by_the_first_call_and_sleeps_when_all_threads_rest() {
    let mut bench = Bench::new();
    let calls = bench.slow.of_thread("vm-block0".into(), Backend::Drive(0));
    assert_eq!(bench.slow.next_look(bench.at(0)), None);
    for round in 0..3u32 {
        for _ in 0..5 {
            calls.make(|| {});
        }
        assert_eq!(bench.woken(), round + 1);
        // There was something, which has to be looked at again, and then there was nothing.
        for is_due in [true, false] {
            assert_eq!(bench.look(0), nothing());
            let due = is_due.then(|| bench.at(0) + LOOK_INTERVAL);
            assert_eq!(bench.slow.next_look(bench.at(0)), due);
        }
    }
    calls.make(|| {
        for second in 0..10 {
            bench.look(second);
            assert!(bench.slow.next_look(bench.at(second)).is_some());
        }
    });
    assert_eq!(bench.woken(), 4);
}

#[test]
fn a_call_that_begins_while_the_others_are_looked_at_is_not_overlooked() {
    const ROUNDS: u32 = 1000;
    let mut bench = Bench::new();
    let calls = bench.slow.of_thread("vm-block0".into(), Backend::Drive(0));
    let (begun, released) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=ROUNDS {
                calls.make(|| {
                    begun.store(round, Ordering::SeqCst);
                    while released.load(Ordering::SeqCst) < round {
                        thread::yield_now();
                    }
                });
            }
        });
        for round in 1..=ROUNDS {
            while begun.load(Ordering::SeqCst) < round {
                assert_eq!(bench.look(0), nothing());
            }
            assert_eq!(bench.look(0), nothing());
            assert!(bench.slow.next_look(bench.at(0)).is_some(), "{round}");
            released.store(round, Ordering::SeqCst);
        }
    });
}
