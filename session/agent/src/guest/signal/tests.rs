use nix::sys::signal::Signal;

use super::*;

/// Sends it to this thread alone, which has to block it.
fn queue(signal: i32, value: libc::sigval) {
    // SAFETY: this thread is alive while it asks who it is.
    let this = unsafe { libc::pthread_self() };
    // SAFETY: as above, and the value is no address.
    let result = unsafe { libc::pthread_sigqueue(this, signal, value) };
    assert_eq!(result, 0);
}

#[test]
fn a_time_comes_with_its_signal_and_not_with_others() {
    let signals = SigSet::from(Signal::SIGUSR2);
    signals.thread_block().unwrap();
    for (sent, received) in [
        (Duration::from_millis(1234), Duration::from_millis(1234)),
        (Duration::ZERO, Duration::ZERO),
        (Duration::MAX, Duration::from_millis(u64::from(u32::MAX))),
    ] {
        queue(libc::SIGUSR2, to_value(sent));
        let (signal, time) = (libc::SIGUSR2, Some(received));
        assert_eq!(wait(&signals).unwrap(), Received { signal, time });
    }
    nix::sys::signal::raise(Signal::SIGUSR2).unwrap();
    let (signal, time) = (libc::SIGUSR2, None);
    assert_eq!(wait(&signals).unwrap(), Received { signal, time });
}
