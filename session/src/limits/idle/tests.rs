use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Observes a session for so many seconds, one by one, of which each adds `change` to what was counted.
fn observe(
    watch: &mut IdleWatch,
    now: &mut Duration,
    sample: &mut Sample,
    seconds: u32,
    change: impl Fn(&mut Sample),
) -> Duration {
    let limit = IdleLimit::after(60 * SECOND);
    let mut idle = Duration::ZERO;
    for _ in 0..seconds {
        *now += SECOND;
        change(sample);
        idle = watch.observe(*now, *sample, &limit);
    }
    idle
}

fn idle_after(seconds: u32, change: impl Fn(&mut Sample)) -> Duration {
    let (mut now, mut sample) = (Duration::from_secs(1000), Sample::default());
    let mut watch = IdleWatch::new(now, sample);
    observe(&mut watch, &mut now, &mut sample, seconds, change)
}

#[test]
fn a_session_that_does_nothing_is_idle_from_its_start() {
    assert_eq!(idle_after(90, |_| ()), 90 * SECOND);
}

#[test]
fn a_kernel_that_ticks_and_resolves_addresses_is_idle() {
    let little = |sample: &mut Sample| {
        sample.cpu += Duration::from_millis(20);
        sample.network_bytes += 42;
    };
    assert_eq!(idle_after(90, little), 90 * SECOND);
}

#[test]
fn each_kind_of_work_keeps_a_session_from_being_idle() {
    let kinds: [fn(&mut Sample); 4] = [
        |sample| sample.commands = 1,
        |sample| sample.uses += 1,
        |sample| sample.network_bytes += 200,
        |sample| sample.cpu += Duration::from_millis(200),
    ];
    for (number, kind) in kinds.into_iter().enumerate() {
        let idle = idle_after(95, kind);
        assert!(idle < WINDOW, "kind {number}: {idle:?}");
    }
}

#[test]
fn a_session_is_idle_since_it_last_worked() {
    let (mut now, mut sample) = (Duration::ZERO, Sample::default());
    let mut watch = IdleWatch::new(now, sample);
    let mut pass = |seconds, change: fn(&mut Sample)| {
        observe(&mut watch, &mut now, &mut sample, seconds, change)
    };
    pass(30, |sample| sample.uses += 1);
    assert_eq!(pass(30, |_| ()), 30 * SECOND);
    pass(20, |sample| sample.cpu += SECOND);
    let idle = pass(40, |_| ());
    assert!(idle >= 30 * SECOND && idle <= 40 * SECOND, "{idle:?}");
}

#[test]
fn a_short_burst_does_not_count_as_work() {
    let (mut now, mut sample) = (Duration::ZERO, Sample::default());
    let mut watch = IdleWatch::new(now, sample);
    observe(&mut watch, &mut now, &mut sample, 25, |_| ());
    sample.cpu += Duration::from_millis(300);
    let idle = observe(&mut watch, &mut now, &mut sample, 25, |_| ());
    assert_eq!(idle, 50 * SECOND);
}

#[test]
fn a_reboot_is_no_idle_moment_and_its_new_counts_do_no_harm() {
    let (mut now, mut sample) = (Duration::ZERO, Sample::default());
    let mut watch = IdleWatch::new(now, sample);
    observe(&mut watch, &mut now, &mut sample, 30, |sample| {
        sample.cpu += SECOND;
    });
    sample.cpu = Duration::ZERO;
    let idle = observe(&mut watch, &mut now, &mut sample, 1, |_| ());
    assert_eq!(idle, Duration::ZERO);
}

#[test]
fn time_that_stands_still_is_no_work() {
    let mut watch = IdleWatch::new(SECOND, Sample::default());
    let limit = IdleLimit::after(SECOND);
    for _ in 0..3 {
        assert_eq!(
            watch.observe(SECOND, Sample::default(), &limit),
            Duration::ZERO
        );
    }
}
