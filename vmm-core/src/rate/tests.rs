use proptest::prelude::*;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn limit(per_second: u64, burst: u64) -> Option<RateLimit> {
    Some(RateLimit { per_second, burst })
}

fn limiter(bytes: Option<RateLimit>, operations: Option<RateLimit>) -> RateLimiter {
    RateLimiter::new(RateLimits { bytes, operations }).unwrap()
}

/// Whether a source of `gate` is readable within `timeout_ms`.
fn wakes(gate: &RateGate, timeout_ms: i32) -> bool {
    let epoll = Epoll::new().unwrap();
    for fd in gate.sources() {
        let event = EpollEvent::new(EventSet::IN, 0);
        epoll.ctl(ControlOperation::Add, fd, event).unwrap();
    }
    let mut events = [EpollEvent::default(); RateGate::SOURCES];
    epoll.wait(timeout_ms, &mut events).unwrap() > 0
}

#[test]
fn limits_of_nothing_are_refused_by_name() {
    let refused = |bytes, operations| RateLimiter::new(RateLimits { bytes, operations });
    for (result, limit, field) in [
        (refused(limit(0, 1), None), "bytes", "per_second"),
        (refused(limit(1, 0), None), "bytes", "burst"),
        (
            refused(limit(1, 1), limit(0, 1)),
            "operations",
            "per_second",
        ),
        (refused(None, limit(1, 0)), "operations", "burst"),
    ] {
        assert_eq!(result.unwrap_err(), RateLimitError::Zero { limit, field });
    }
    let limiter = limiter(limit(5, 6), None);
    let wrong = RateLimits {
        bytes: None,
        operations: limit(0, 1),
    };
    assert!(limiter.set(wrong).is_err());
    assert_eq!(limiter.limits().bytes, limit(5, 6), "the old limits stay");
}

#[test]
fn a_limiter_without_limits_lets_everything_pass() {
    let limiter = RateLimiter::default();
    for _ in 0..3 {
        assert_eq!(limiter.take(Instant::now(), u64::MAX, u64::MAX), Ok(()));
    }
}

#[test]
fn a_burst_passes_at_once_and_the_rest_at_its_rate() {
    let limiter = limiter(None, limit(10, 3));
    let start = Instant::now();
    for _ in 0..3 {
        assert_eq!(limiter.take(start, 1, 1 << 40), Ok(()));
    }
    let tenth = SECOND / 10;
    assert_eq!(limiter.take(start, 1, 0), Err(tenth));
    assert_eq!(limiter.take(start + tenth / 2, 1, 0), Err(tenth / 2));
    assert_eq!(limiter.take(start + tenth, 1, 0), Ok(()));
    assert_eq!(limiter.take(start + tenth, 1, 0), Err(tenth));
    // Ten seconds fill a bucket of three, no more.
    let later = start + 10 * SECOND;
    assert!((0..3).all(|_| limiter.take(later, 1, 0).is_ok()));
    assert_eq!(limiter.take(later, 1, 0), Err(tenth));
}

#[test]
fn a_request_larger_than_the_burst_passes_and_is_paid_for_later() {
    let limiter = limiter(limit(1000, 100), None);
    let start = Instant::now();
    assert_eq!(limiter.take(start, 1, 5100), Ok(()));
    let paid = 5 * SECOND + SECOND / 1000;
    assert_eq!(limiter.take(start, 1, 1), Err(paid));
    assert_eq!(limiter.take(start + paid, 1, 5000), Ok(()));
}

#[test]
fn a_request_takes_from_both_buckets_or_from_none() {
    let limiter = limiter(limit(100, 100), limit(1, 2));
    let start = Instant::now();
    assert_eq!(limiter.take(start, 1, 100), Ok(()));
    // The bytes are used up; an operation without bytes needs none, and the refused one took none.
    assert_eq!(limiter.take(start, 1, 50), Err(SECOND / 100));
    assert_eq!(limiter.take(start, 1, 0), Ok(()));
    assert_eq!(limiter.take(start, 1, 0), Err(SECOND));
    assert_eq!(
        limiter.take(start + SECOND / 2, 1, 50),
        Err(SECOND / 2),
        "the longer of the two waits counts"
    );
}

#[test]
fn clones_share_what_passes() {
    let limiter = limiter(None, limit(1, 1));
    let now = Instant::now();
    assert!(limiter.clone().take(now, 1, 0).is_ok());
    assert!(limiter.take(now, 1, 0).is_err());
}

#[test]
fn new_limits_give_no_new_burst_and_pay_old_debts_faster() {
    let slow = limiter(limit(1, 1), None);
    let start = Instant::now();
    slow.take(start, 1, 1 << 20).unwrap();
    assert!(slow.take(start, 1, 1).unwrap_err() > 1000 * SECOND);
    let faster = RateLimits {
        bytes: limit(1 << 20, 1 << 20),
        operations: None,
    };
    slow.set(faster).unwrap();
    let wait = slow.take(Instant::now(), 1, 1).unwrap_err();
    assert!(wait > SECOND / 2 && wait < 2 * SECOND, "{wait:?}");
    slow.set(RateLimits::default()).unwrap();
    assert_eq!(slow.take(Instant::now(), 1, 1 << 40), Ok(()));
}

#[test]
fn extreme_limits_and_times_do_not_overflow() {
    let limiter = limiter(limit(u64::MAX, u64::MAX), limit(1, 1));
    let start = Instant::now();
    assert_eq!(limiter.take(start, 1, u64::MAX), Ok(()));
    let ages = Duration::from_secs(1 << 40);
    assert_eq!(limiter.take(start + ages, u64::MAX, u64::MAX), Ok(()));
    assert_eq!(
        limiter.take(start + ages, 1, 1),
        Err(Duration::from_nanos(u64::MAX)),
        "longer than can be said is as long as can be said"
    );
    assert!(limiter.take(start, 1, 1).is_err(), "time does not go back");
}

#[test]
fn a_gate_wakes_when_the_time_has_come() {
    let limiter = limiter(None, limit(50, 1));
    let mut gate = RateGate::new(&limiter).unwrap();
    assert!(gate.admits(1, 0));
    let start = Instant::now();
    assert!(!gate.admits(1, 0));
    assert!(wakes(&gate, 5000));
    assert!(start.elapsed() > Duration::from_millis(15));
    gate.rearm();
    assert!(!wakes(&gate, 0), "the sources are read empty");
    assert!(gate.admits(1, 0));
}

#[test]
fn a_gate_wakes_when_the_limits_change() {
    let limiter = limiter(None, limit(1, 1));
    let mut gates = [&limiter, &limiter].map(|limiter| RateGate::new(limiter).unwrap());
    assert!(gates[0].admits(1, 0));
    for gate in &mut gates {
        assert!(!gate.admits(1, 0));
        assert!(!wakes(gate, 0));
    }
    limiter.set(RateLimits::default()).unwrap();
    for gate in &mut gates {
        assert!(wakes(gate, 0));
        gate.rearm();
        assert!(!wakes(gate, 0));
        assert!(gate.admits(1, 0));
    }
}

#[test]
fn a_gate_that_forgets_is_not_woken() {
    let limiter = limiter(None, limit(100, 1));
    let mut gate = RateGate::new(&limiter).unwrap();
    assert!(gate.admits(1, 0));
    assert!(!gate.admits(1, 0));
    gate.forget();
    assert!(!wakes(&gate, 50));
}

proptest! {
    #[test]
    fn no_stretch_of_time_sees_more_than_a_burst_and_its_rate(
        per_second in 1u64..5_000, burst in 1u64..2_000,
        requests in prop::collection::vec((0u64..300_000_000, 1u64..3_000), 1..60))
    {
        let limiter = limiter(limit(per_second, burst), None);
        let mut now = Instant::now();
        let mut passed: Vec<(Instant, u64)> = Vec::new();
        for (pause, bytes) in requests {
            now += Duration::from_nanos(pause);
            if let Err(wait) = limiter.take(now, 1, bytes) {
                // Not a moment earlier, and at that moment for sure.
                let early = wait.saturating_sub(Duration::from_nanos(1));
                prop_assert!(early.is_zero() || limiter.take(now + early, 1, bytes).is_err());
                now += wait;
                prop_assert_eq!(limiter.take(now, 1, bytes), Ok(()));
            }
            passed.push((now, bytes));
        }
        for (first, (start, _)) in passed.iter().enumerate() {
            let mut before = 0u128;
            for (end, bytes) in &passed[first..] {
                let elapsed = (*end - *start).as_nanos();
                let allowed = u128::from(burst) * 1_000_000_000 + elapsed * u128::from(per_second);
                // What passed before the last request, and one byte of it.
                prop_assert!((before + 1) * 1_000_000_000 <= allowed);
                before += u128::from(*bytes);
            }
        }
    }
}

#[test]
fn a_state_takes_along_what_is_owed_and_gives_nothing() {
    let first = limiter(limit(1000, 100), limit(1000, 50));
    first.take(Instant::now(), 10, 100_000).unwrap();
    let saved = first.save();
    saved.check().unwrap();
    assert!(saved.bytes.unwrap().level < -90_000, "{saved:?}");
    let second = limiter(limit(1000, 100), limit(1000, 5));
    second.take_over(&saved);
    assert!(second.take(Instant::now(), 1, 1).is_err());
    assert!(second.take(Instant::now(), 1, 0).is_ok());
    // A burst of 5 did not become one of 40.
    assert!(second.save().operations.unwrap().level < 5);
    let free = RateLimiter::default();
    free.take_over(&saved);
    assert_eq!(free.take(Instant::now(), 1, u64::MAX), Ok(()));
    let mut absurd = saved;
    absurd.bytes.as_mut().unwrap().level = i64::MIN;
    assert!(absurd.check().is_err());
}

#[test]
fn a_state_owes_no_more_than_a_request() {
    let bucket = |level| Some(BucketState { level });
    let bytes = |level| LimiterState {
        bytes: bucket(level),
        operations: None,
    };
    let operations = |level| LimiterState {
        bytes: None,
        operations: bucket(level),
    };
    let most = i64::try_from(crate::block::MAX_CHARGED_BYTES).unwrap();
    for fine in [bytes(-most), bytes(i64::MAX), operations(-1), operations(5)] {
        fine.check().unwrap();
    }
    for wrong in [bytes(-most - 1), bytes(i64::MIN), operations(-2)] {
        wrong.check().unwrap_err();
    }
}
