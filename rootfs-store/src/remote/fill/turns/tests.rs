use std::num::NonZeroU64;
use std::thread;
use std::time::Instant;

use super::*;

fn pace(bytes_per_second: u64) -> Arc<Pace> {
    Arc::new(Pace::new(NonZeroU64::new(bytes_per_second)))
}

#[test]
fn turn_is_had_by_one_and_given_back() {
    let (turns, own) = (Turns::default(), pace(1));
    let turn = turns.take(&own, || false).unwrap();
    assert!(turns.take(&own, || false).is_none());
    thread::scope(|scope| {
        let next = scope.spawn(|| turns.take(&own, || true).is_some());
        thread::sleep(SLICE);
        drop(turn);
        assert!(next.join().unwrap());
    });
    assert!(turns.take(&own, || false).is_some());
}

#[test]
fn fastest_of_all_who_want_it_sets_the_pace() {
    let (turns, own) = (Turns::default(), pace(10));
    let fastest = || turns.fastest(&own);
    assert!(Arc::ptr_eq(&fastest(), &own));
    let (slower, faster, free) = (pace(5), pace(20), pace(0));
    let one = Place::among(&turns, &slower);
    assert!(Arc::ptr_eq(&fastest(), &own));
    let another = Place::among(&turns, &faster);
    assert!(Arc::ptr_eq(&fastest(), &faster));
    let third = Place::among(&turns, &free);
    assert!(Arc::ptr_eq(&fastest(), &free));
    drop((third, another));
    assert!(Arc::ptr_eq(&fastest(), &own));
    drop(one);
    assert!(turns.lock().waiting.is_empty());
}

#[test]
fn who_waits_is_asked_now_and_then_and_may_leave() {
    let (turns, own) = (Turns::default(), pace(1));
    let _turn = turns.take(&own, || false).unwrap();
    let (begun, mut left) = (Instant::now(), 3);
    let turn = turns.take(&own, || {
        left -= 1;
        left > 0
    });
    assert!(turn.is_none());
    assert!(begun.elapsed() >= 3 * SLICE);
    assert!(turns.lock().waiting.is_empty());
}
