use super::*;
use crate::limits::IdleLimit;

const MINUTE: Duration = Duration::from_secs(60);

fn limits(uptime: Option<Duration>, idle: Option<Duration>) -> Limits {
    Limits {
        max_uptime: uptime,
        idle: idle.map(IdleLimit::after),
        warnings: vec![10 * MINUTE, MINUTE],
        ..Limits::default()
    }
}

fn near(limit: Limit, left: Duration) -> Vec<Verdict> {
    vec![Verdict::Near { limit, left }]
}

fn over(limit: Limit) -> Vec<Verdict> {
    vec![Verdict::Over { limit }]
}

/// The watch of a run that has just begun, and a way to look at it after so long.
fn watch(used: Duration) -> impl FnMut(Duration, Sample, &Limits) -> Vec<Verdict> {
    let start = Duration::from_secs(12345);
    let mut watch = LimitWatch::new(start, used, Sample::default());
    move |after, sample, limits| watch.check(start + after, sample, limits)
}

#[test]
fn each_warning_is_given_once_and_then_the_end() {
    let limits = limits(Some(60 * MINUTE), None);
    let mut at = watch(Duration::ZERO);
    let mut seen = Vec::new();
    for second in 0..=3600 {
        seen.extend(at(Duration::from_secs(second), Sample::default(), &limits));
    }
    let expected = [
        near(Limit::Uptime, 10 * MINUTE),
        near(Limit::Uptime, MINUTE),
        over(Limit::Uptime),
    ];
    assert_eq!(seen, expected.concat());
}

#[test]
fn time_that_was_used_before_counts() {
    let limits = limits(Some(60 * MINUTE), None);
    let mut at = watch(55 * MINUTE);
    let left = at(Duration::ZERO, Sample::default(), &limits);
    assert_eq!(left, near(Limit::Uptime, 5 * MINUTE));
    assert_eq!(
        at(5 * MINUTE, Sample::default(), &limits),
        over(Limit::Uptime)
    );
}

#[test]
fn time_that_was_used_before_counts_though_the_clock_began_after_it() {
    let limits = limits(Some(60 * MINUTE), None);
    let watch = LimitWatch::new(Duration::ZERO, 55 * MINUTE, Sample::default());
    assert_eq!(watch.left(Duration::ZERO, &limits)[0], Some(5 * MINUTE));
    assert_eq!(watch.left(5 * MINUTE, &limits)[0], Some(Duration::ZERO));
}

#[test]
fn a_clock_that_jumps_past_the_end_ends_the_run_without_a_warning() {
    let limits = limits(Some(60 * MINUTE), None);
    let mut at = watch(Duration::ZERO);
    assert_eq!(
        at(100 * 60 * MINUTE, Sample::default(), &limits),
        over(Limit::Uptime)
    );
}

#[test]
fn a_longer_limit_takes_warnings_back() {
    let mut at = watch(Duration::ZERO);
    let short = limits(Some(60 * MINUTE), None);
    assert_eq!(
        at(55 * MINUTE, Sample::default(), &short),
        near(Limit::Uptime, 5 * MINUTE)
    );
    let long = limits(Some(120 * MINUTE), None);
    assert_eq!(at(55 * MINUTE, Sample::default(), &long), []);
    assert_eq!(
        at(111 * MINUTE, Sample::default(), &long),
        near(Limit::Uptime, 9 * MINUTE)
    );
}

#[test]
fn no_warning_is_as_long_as_the_whole_time() {
    let limits = limits(Some(5 * MINUTE), None);
    let mut at = watch(Duration::ZERO);
    assert_eq!(at(Duration::ZERO, Sample::default(), &limits), []);
    assert_eq!(
        at(4 * MINUTE, Sample::default(), &limits),
        near(Limit::Uptime, MINUTE)
    );
}

#[test]
fn an_idle_session_is_warned_each_time_that_it_falls_idle() {
    let limits = limits(None, Some(20 * MINUTE));
    let mut at = watch(Duration::ZERO);
    let mut sample = Sample::default();
    assert_eq!(
        at(11 * MINUTE, sample, &limits),
        near(Limit::Idle, 9 * MINUTE)
    );
    sample.uses += 1;
    assert_eq!(at(12 * MINUTE, sample, &limits), []);
    assert_eq!(
        at(23 * MINUTE, sample, &limits),
        near(Limit::Idle, 9 * MINUTE)
    );
    assert_eq!(at(32 * MINUTE, sample, &limits), over(Limit::Idle));
}

#[test]
fn an_idle_limit_that_comes_later_counts_from_then_on() {
    let mut at = watch(Duration::ZERO);
    let none = limits(None, None);
    assert_eq!(at(100 * MINUTE, Sample::default(), &none), []);
    let idle = limits(None, Some(20 * MINUTE));
    assert_eq!(at(105 * MINUTE, Sample::default(), &idle), []);
    assert_eq!(
        at(121 * MINUTE, Sample::default(), &idle),
        over(Limit::Idle)
    );
}

#[test]
fn without_limits_nothing_ends() {
    let mut at = watch(Duration::ZERO);
    assert_eq!(
        at(
            Duration::from_secs(u64::MAX >> 1),
            Sample::default(),
            &Limits::none()
        ),
        []
    );
}
