use super::*;

const POLICY: RetryPolicy = RetryPolicy {
    attempts: 5,
    first_delay: Duration::from_millis(100),
    max_delay: Duration::from_millis(500),
};

#[test]
fn delays_double_up_to_the_longest() {
    let delays = |jitter| -> Vec<u128> {
        let delays = (1..9).map_while(|failures| POLICY.delay(failures, None, jitter));
        delays.map(|delay| delay.as_millis()).collect()
    };
    assert_eq!(delays(0), [50, 100, 200, 250]);
    assert_eq!(delays(49_999_999), [99, 149, 249, 299]);
}

#[test]
fn a_registry_may_ask_for_more_within_bounds() {
    let delay = |asked| POLICY.delay(1, Some(asked), 0).unwrap();
    assert_eq!(delay(Duration::from_secs(7)), Duration::from_secs(7));
    assert_eq!(delay(Duration::from_secs(1 << 40)), MAX_RETRY_AFTER);
    assert_eq!(delay(Duration::ZERO), Duration::from_millis(50));
}

proptest::proptest! {
    #[test]
    fn delays_are_bounded_and_end(
        attempts in 0..u32::MAX,
        failures: u32,
        asked: Option<u64>,
        jitter: u64,
        first: u64,
        max: u32,
    ) {
        let max_delay = Duration::from_millis(max.into());
        let policy = RetryPolicy { attempts, first_delay: Duration::from_millis(first), max_delay };
        let delay = policy.delay(failures, asked.map(Duration::from_secs), jitter);
        proptest::prop_assert_eq!(delay.is_some(), failures < attempts);
        proptest::prop_assert!(delay.unwrap_or_default() <= max_delay.max(MAX_RETRY_AFTER));
    }
}
