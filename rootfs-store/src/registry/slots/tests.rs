use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::super::url::Url;
use super::*;
use crate::registry::Wanted;

fn origin(host: &str) -> Origin {
    Url::new(true, host, "/").unwrap().origin
}

/// Slots of which an urgent request waits for one no longer than that.
fn slots(limit: usize, wait_ms: u64) -> Arc<Slots> {
    Arc::new(Slots {
        urgent_wait: Duration::from_millis(wait_ms),
        ..Slots::new(limit)
    })
}

#[test]
fn slots_of_a_host_are_limited_and_given_back() {
    let slots = Arc::new(Slots::new(4));
    let held = slots.take(&origin("other.example"), Urgency::Background);
    let (taken, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let slot = slots.take(&origin("a.example"), Urgency::Background);
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

#[test]
fn a_quarter_of_the_slots_is_kept_for_urgent_requests() {
    for (limit, kept) in [(2, 1), (3, 1), (4, 1), (8, 2), (16, 4)] {
        let slots = slots(limit, 20);
        let host = origin("a.example");
        let take = |urgency| slots.take(&host, urgency);
        let background: Vec<_> = (kept..limit)
            .map(|_| take(Urgency::Background).unwrap())
            .collect();
        // No more of them, but the rest for who is urgent.
        let is_full = |urgency| slots.is_full(&slots.taken.lock().unwrap(), &host, urgency);
        assert!(is_full(Urgency::Background));
        let urgent: Vec<_> = (0..kept).map(|_| take(Urgency::Urgent).unwrap()).collect();
        take(Urgency::Urgent).unwrap_err();
        drop(urgent);
        assert!(is_full(Urgency::Background));
        drop(background);
        assert!(!is_full(Urgency::Background));
        assert!(slots.taken.lock().unwrap().is_empty());
    }
}

#[test]
fn one_slot_is_shared_and_an_urgent_request_waits_for_it_no_longer_than_it_may() {
    let slots = slots(1, 50);
    let host = origin("a.example");
    let background = slots.take(&host, Urgency::Background).unwrap();
    let begun = std::time::Instant::now();
    let waited = Duration::from_millis(50);
    let none = slots.take(&host, Urgency::Urgent).unwrap_err();
    assert!(matches!(none, NoSlot::Busy { waited: found } if found >= waited));
    assert!(begun.elapsed() >= waited);
    slots.take(&origin("b.example"), Urgency::Urgent).unwrap();
    let transfer = Wanted::default();
    transfer.end();
    let unwanted = transfer.during(|| slots.take(&host, Urgency::Background).unwrap_err());
    assert_eq!(unwanted, NoSlot::Unwanted);
    drop(background);
    let urgent = slots.take(&host, Urgency::Urgent).unwrap();
    thread::scope(|scope| {
        let next = scope.spawn(|| slots.take(&host, Urgency::Background).is_ok());
        thread::sleep(waited);
        drop(urgent);
        assert!(next.join().unwrap());
    });
}
