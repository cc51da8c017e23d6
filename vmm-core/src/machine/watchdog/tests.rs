use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A watchdog, and how often it told that it may be due earlier.
fn watchdog() -> (Watchdog, Arc<AtomicU32>) {
    let armed = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&armed);
    let count = move || {
        counter.fetch_add(1, Ordering::SeqCst);
    };
    (Watchdog::new(Box::new(count)), armed)
}

fn set(watchdog: &Watchdog, port: u16, value: u8, now: Instant) {
    watchdog.write(port, &[value], now);
}

#[test]
fn it_is_off_until_the_guest_starts_it_and_off_again_when_stopped() {
    let (watchdog, armed) = watchdog();
    let now = Instant::now();
    watchdog.write(WATCHDOG_COUNT_PORT, &20u16.to_le_bytes(), now);
    set(&watchdog, WATCHDOG_KICK_PORT, 1, now);
    assert_eq!(
        (watchdog.deadline(), armed.load(Ordering::SeqCst)),
        (None, 0)
    );
    set(&watchdog, WATCHDOG_CONTROL_PORT, WATCHDOG_RUNNING, now);
    assert_eq!(watchdog.deadline(), Some(now + ms(2000)));
    assert_eq!(armed.load(Ordering::SeqCst), 1);
    assert!(!watchdog.has_expired(now + ms(1999)));
    assert!(watchdog.has_expired(now + ms(2000)));
    // To start it again is no kick.
    set(
        &watchdog,
        WATCHDOG_CONTROL_PORT,
        WATCHDOG_RUNNING,
        now + ms(500),
    );
    assert_eq!(watchdog.deadline(), Some(now + ms(2000)));
    set(&watchdog, WATCHDOG_CONTROL_PORT, 0, now);
    assert!(!watchdog.has_expired(now + ms(100_000)));
}

#[test]
fn a_kick_gives_the_whole_time_again() {
    let (watchdog, armed) = watchdog();
    let now = Instant::now();
    set(&watchdog, WATCHDOG_CONTROL_PORT, WATCHDOG_RUNNING, now);
    assert_eq!(watchdog.deadline(), Some(now + ms(60_000)));
    set(&watchdog, WATCHDOG_KICK_PORT, 1, now + ms(59_000));
    assert_eq!(watchdog.deadline(), Some(now + ms(119_000)));
    assert_eq!(armed.load(Ordering::SeqCst), 1, "later needs no telling");
    watchdog.write(WATCHDOG_COUNT_PORT, &[0, 0], now);
    assert_eq!(watchdog.deadline(), Some(now + ms(100)));
    assert_eq!(armed.load(Ordering::SeqCst), 2);
}

#[test]
fn registers_say_what_is_left_and_whether_it_runs() {
    let (watchdog, _) = watchdog();
    let now = Instant::now();
    let read = |now| {
        let mut count = [0; 2];
        let mut control = [0xff];
        watchdog.read(WATCHDOG_COUNT_PORT, &mut count, now);
        watchdog.read(WATCHDOG_CONTROL_PORT, &mut control, now);
        (u16::from_le_bytes(count), control[0])
    };
    assert_eq!(read(now), (600, 0));
    set(&watchdog, WATCHDOG_CONTROL_PORT, WATCHDOG_RUNNING, now);
    assert_eq!(read(now + ms(1000)), (590, 1));
    assert_eq!(read(now + ms(100_000)), (0, 1));
}

#[test]
fn accesses_of_odd_sizes_do_nothing() {
    let (watchdog, _) = watchdog();
    let now = Instant::now();
    watchdog.write(WATCHDOG_CONTROL_PORT, &[1, 1], now);
    watchdog.write(WATCHDOG_CONTROL_PORT, &[], now);
    watchdog.write(WATCHDOG_COUNT_PORT, &[1], now);
    watchdog.write(WATCHDOG_COUNT_PORT + 1, &[1], now);
    assert_eq!(watchdog.deadline(), None);
    let mut data = [7; 4];
    watchdog.read(WATCHDOG_COUNT_PORT, &mut data, now);
    watchdog.read(WATCHDOG_KICK_PORT, &mut data[..1], now);
    assert_eq!(data, [7; 4]);
}

#[test]
fn a_pause_takes_no_time() {
    let (watchdog, armed) = watchdog();
    let now = Instant::now();
    set(&watchdog, WATCHDOG_CONTROL_PORT, WATCHDOG_RUNNING, now);
    watchdog.pause(now + ms(10_000));
    watchdog.pause(now + ms(20_000));
    assert!(!watchdog.has_expired(now + ms(100_000)));
    watchdog.resume(now + ms(100_000));
    assert_eq!(watchdog.deadline(), Some(now + ms(150_000)));
    assert_eq!(armed.load(Ordering::SeqCst), 2);
    watchdog.resume(now + ms(200_000));
    assert_eq!(watchdog.deadline(), Some(now + ms(150_000)));
}

#[test]
fn a_kick_while_time_stands_still_gives_no_more_than_the_whole_time() {
    let now = Instant::now();
    // The time of a pause is taken before vCPUs stop, and even before a kick that comes first.
    for is_paused_first in [true, false] {
        let (watchdog, _) = watchdog();
        watchdog.write(WATCHDOG_COUNT_PORT, &u16::MAX.to_le_bytes(), now);
        set(&watchdog, WATCHDOG_CONTROL_PORT, WATCHDOG_RUNNING, now);
        if is_paused_first {
            watchdog.pause(now);
        }
        set(&watchdog, WATCHDOG_KICK_PORT, 1, now + ms(5));
        watchdog.pause(now);
        let mut count = [0; 2];
        watchdog.read(WATCHDOG_COUNT_PORT, &mut count, now + ms(1000));
        assert_eq!(u16::from_le_bytes(count), u16::MAX);
        let state = watchdog.save(now + ms(1000));
        assert_eq!(state.left_ms, Some(6_553_500));
        state.check().unwrap();
    }
}

#[test]
fn what_is_set_and_what_is_left_are_told_apart() {
    let (watchdog, _) = watchdog();
    let now = Instant::now();
    watchdog.write(WATCHDOG_COUNT_PORT, &20u16.to_le_bytes(), now);
    set(&watchdog, WATCHDOG_CONTROL_PORT, WATCHDOG_RUNNING, now);
    let read = |port| {
        let mut bytes = [0; 2];
        watchdog.read(port, &mut bytes, now + ms(500));
        u16::from_le_bytes(bytes)
    };
    assert_eq!(read(WATCHDOG_COUNT_PORT), 15);
    assert_eq!(read(WATCHDOG_SETTING_PORT), 20);
}

#[test]
fn a_state_has_the_time_that_is_left_however_long_it_lies() {
    let (first, _) = watchdog();
    let now = Instant::now();
    first.write(WATCHDOG_COUNT_PORT, &20u16.to_le_bytes(), now);
    set(&first, WATCHDOG_CONTROL_PORT, WATCHDOG_RUNNING, now);
    first.pause(now + ms(500));
    let state = first.save(now + ms(90_000));
    assert_eq!((state.count, state.left_ms), (20, Some(1500)));
    state.check().unwrap();
    let (second, armed) = watchdog();
    let later = now + ms(1_000_000);
    second.take_over(&state, later);
    assert_eq!(second.deadline(), Some(later + ms(1500)));
    assert_eq!(armed.load(Ordering::SeqCst), 1);
    for wrong in [
        WatchdogState { count: 0, ..state },
        WatchdogState {
            left_ms: Some(2001),
            ..state
        },
    ] {
        assert!(wrong.check().is_err(), "{wrong:?}");
    }
}
