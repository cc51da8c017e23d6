//! Times of many equal operations.

use std::time::Duration;

use serde::Serialize;

/// What many times come to, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latencies {
    /// Number of operations.
    pub count: usize,
    /// Mean.
    pub mean_us: f64,
    /// Half of the operations took at most this long.
    pub p50_us: f64,
    /// 99 of 100 operations took at most this long.
    pub p99_us: f64,
    /// The slowest one.
    pub max_us: f64,
}

impl Latencies {
    /// Sums up `times`; nothing if there are none.
    #[must_use]
    pub fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let count = times.len();
        let us = |time: &Duration| time.as_secs_f64() * 1e6;
        // The nearest rank: the smallest time that at least this share of all do not exceed.
        let rank = |percent: usize| times.get((count * percent).div_ceil(100).max(1) - 1);
        Some(Self {
            count,
            mean_us: times.iter().map(us).sum::<f64>()
                / u32::try_from(count).map_or(1.0, f64::from),
            p50_us: us(rank(50)?),
            p99_us: us(rank(99)?),
            max_us: us(times.last()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let times = (1..=200).rev().map(Duration::from_micros).collect();
        let found = Latencies::of(times).unwrap();
        assert_eq!((found.p50_us, found.p99_us), (100.0, 198.0));
        assert_eq!((found.mean_us, found.max_us), (100.5, 200.0));
    }

    #[test]
    fn one_time_is_all_of_them_and_none_is_nothing() {
        let found = Latencies::of(vec![Duration::from_micros(3)]).unwrap();
        assert_eq!((found.count, found.p50_us, found.p99_us), (1, 3.0, 3.0));
        assert_eq!(Latencies::of(Vec::new()), None);
    }
}
