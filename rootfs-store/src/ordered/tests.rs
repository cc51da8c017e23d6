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

#[test]
fn any_number_of_threads_comes_to_an_end() {
    for threads in [0, 1, 2, 63, 64, 65, 200] {
        for items in [0, 1, 64, 65, 1000] {
            let mut sum = 0;
            ordered_on(
                threads,
                0..items,
                || Ok::<_, ()>(()),
                |(), n: u64| Ok(n),
                |n| {
                    sum += n;
                    Ok(())
                },
            )
            .unwrap();
            assert_eq!(sum, (0..items).sum::<u64>());
        }
    }
}

#[test]
fn panic_of_the_work_is_passed_on() {
    let work = |_: &mut (), item: u32| {
        if item == 100 {
            panic!("as expected")
        } else {
            Ok::<_, ()>(item)
        }
    };
    let run = std::panic::AssertUnwindSafe(|| ordered_on(3, 0.., || Ok(()), work, |_| Ok(())));
    assert!(std::panic::catch_unwind(run).is_err());
}
