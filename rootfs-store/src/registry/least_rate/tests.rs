use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn meter(bytes_per_second: u64) -> Meter {
    Meter::new(LeastRate {
        bytes_per_second,
        window: 10 * SECOND,
    })
}

#[test]
fn few_bytes_in_a_window_are_slow_and_enough_of_them_are_not() {
    let mut meter = meter(100);
    for _ in 0..9 {
        meter.add(1, SECOND).unwrap();
    }
    let slow = Slow {
        bytes: 10,
        time: 10 * SECOND,
    };
    assert_eq!(meter.add(1, SECOND), Err(slow));
    for _ in 0..100 {
        meter.add(100, SECOND).unwrap();
    }
}

#[test]
fn burst_of_one_window_does_not_count_for_the_next() {
    let mut meter = meter(100);
    meter.add(1 << 20, 10 * SECOND).unwrap();
    meter.add(0, 10 * SECOND).unwrap_err();
}

#[test]
fn own_work_of_the_receiver_is_no_time() {
    let mut meter = meter(100);
    for _ in 0..1000 {
        meter.add(1, Duration::ZERO).unwrap();
    }
}

#[test]
fn rate_of_zero_is_no_limit() {
    meter(0).add(0, 3600 * SECOND).unwrap();
}
