use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;

#[test]
fn results_arrive_in_the_order_of_the_items() {
    let mut seen = Vec::new();
    let work = |_: &mut (), item: u32| {
        if item.is_multiple_of(7) {
            thread::sleep(Duration::from_millis(1));
        }
        Ok::<_, ()>(item * 2)
    };
    ordered(
        0..1000,
        || Ok(()),
        work,
        |result| {
            seen.push(result);
            Ok(())
        },
    )
    .unwrap();
    assert_eq!(seen, (0..1000).map(|n| n * 2).collect::<Vec<_>>());
}

#[test]
fn first_error_ends_it() {
    let work = |_: &mut (), item: u32| if item == 5 { Err(item) } else { Ok(item) };
    assert_eq!(ordered(0.., || Ok(()), work, |_| Ok(())), Err(5));
    assert_eq!(
        ordered(
            0..,
            || Ok(()),
            |_: &mut (), n: u32| Ok(n),
            |n| if n == 3 { Err(n) } else { Ok(()) }
        ),
        Err(3)
    );
    assert_eq!(
        ordered(0..9, || Err::<(), _>(1u32), |_, n: u32| Ok(n), |_| Ok(())),
        Err(1)
    );
}

#[test]
fn items_in_flight_are_bounded() {
    let (taken, consumed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = |_: &mut (), item: usize| {
        let ahead = taken.fetch_add(1, Ordering::SeqCst) + 1 - consumed.load(Ordering::SeqCst);
        assert!(ahead <= IN_FLIGHT, "{ahead} in flight");
        if item == 0 {
            thread::sleep(Duration::from_millis(50));
        }
        Ok::<_, ()>(())
    };
    ordered(
        0..1000,
        || Ok(()),
        work,
        |()| {
            consumed.fetch_add(1, Ordering::SeqCst);
            Ok(())
        },
    )
    .unwrap();
    assert_eq!(consumed.load(Ordering::SeqCst), 1000);
}
