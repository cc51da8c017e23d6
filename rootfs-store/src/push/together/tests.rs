use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::*;
use crate::registry::sleep;

/// Much longer than it takes to see the end of a transfer, even on a busy machine.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn results_come_in_order() {
    let squares = each((0..50).collect(), |n: u32| Ok::<_, ()>(n * n));
    assert_eq!(squares.unwrap(), (0..50).map(|n| n * n).collect::<Vec<_>>());
}

#[test]
fn first_failure_is_told_and_ends_those_that_wait() {
    let begun = Instant::now();
    let work = |n: u32| match n {
        2 => Err("refused"),
        n if n < 2 => {
            sleep(LONG);
            Err("cut short")
        }
        _ => Ok(n),
    };
    assert_eq!(each((0..9).collect(), work), Err("refused"));
    assert!(begun.elapsed() < LONG / 4);
}

#[test]
fn panic_of_one_ends_those_that_wait() {
    let begun = Instant::now();
    let work = |n: u32| match n {
        1 => panic!("as a callback may"),
        _ => {
            sleep(LONG);
            Ok::<_, ()>(n)
        }
    };
    let run = AssertUnwindSafe(|| each((0..9).collect(), work));
    catch_unwind(run).unwrap_err();
    assert!(begun.elapsed() < LONG / 4);
}
