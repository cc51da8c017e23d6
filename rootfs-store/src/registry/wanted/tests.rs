use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

#[test]
fn inner_transfer_ends_with_the_outer_one_and_not_the_other_way_round() {
    let (outer, inner) = (Wanted::default(), Wanted::default());
    assert!(is_wanted());
    outer.during(|| {
        inner.during(|| {
            inner.end();
            assert!(!is_wanted());
        });
        assert!(is_wanted());
        outer.end();
        Wanted::default().during(|| assert!(!is_wanted()));
    });
    assert!(is_wanted());
}

#[test]
fn other_threads_are_not_concerned() {
    let transfer = Wanted::default();
    transfer.end();
    let elsewhere = transfer.during(|| thread::spawn(is_wanted).join().unwrap());
    assert!(elsewhere);
}

#[test]
fn panic_in_a_part_ends_the_transfer_and_leaves_it() {
    let transfer = Wanted::default();
    let part = AssertUnwindSafe(|| transfer.during(|| panic!("as a callback may")));
    catch_unwind(part).unwrap_err();
    assert!(transfer.has_ended());
    assert!(is_wanted());
}

#[test]
fn sleep_is_cut_short_at_the_end() {
    let (transfer, begun) = (Wanted::default(), Instant::now());
    thread::scope(|scope| {
        scope.spawn(|| transfer.during(|| sleep(Duration::from_secs(60))));
        thread::sleep(SLICE / 2);
        transfer.end();
    });
    assert!(begun.elapsed() < Duration::from_secs(20));
    let begun = Instant::now();
    sleep(2 * SLICE);
    assert!(begun.elapsed() >= 2 * SLICE);
}
