use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::super::url::Url;
use super::*;

#[test]
fn slots_of_a_host_are_limited_and_given_back() {
    let slots = Arc::new(Slots::new(3));
    let origin = |host| Url::new(true, host, "/").unwrap().origin;
    let held = slots.take(&origin("other.example"));
    let (taken, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let slot = slots.take(&origin("a.example"));
                    most.fetch_max(taken.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::yield_now();
                    taken.fetch_sub(1, Ordering::SeqCst);
                    drop(slot);
                }
            });
        }
    });
    assert!(most.into_inner() <= 3);
    assert_eq!(slots.taken.lock().unwrap().len(), 1);
    drop(held);
    assert!(slots.taken.lock().unwrap().is_empty());
}
