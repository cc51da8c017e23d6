use super::*;

/// Ports whose other ends a test plays the machine with. No signals are held back, so none arrive.
fn machine() -> (Ports, [UnixStream; 4]) {
    let pair = || UnixStream::pair().unwrap();
    let [(stdout, a), (stderr, b), (status, c), (console, d)] = [pair(), pair(), pair(), pair()];
    let ports = Ports {
        stdout,
        stderr,
        status,
        console,
    };
    (ports, [a, b, c, d])
}

fn no_signals() -> Signals {
    Signals(SigSet::empty())
}

#[test]
fn status_counts_only_once_all_output_is_here() {
    let (ports, [mut stdout, _stderr, mut status, _console]) = machine();
    status.write_all(b"ended 3 4 0\n").unwrap();
    let late = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        stdout.write_all(b"abc\n").unwrap();
        Instant::now()
    });
    let result = follow(ports, no_signals(), Duration::from_secs(60)).unwrap();
    let end = Instant::now();
    assert_eq!(result, 3);
    assert!(late.join().unwrap() <= end);
}

#[test]
fn death_shows_the_consoles_last_words() {
    let (ports, [_stdout, _stderr, status, mut console]) = machine();
    console.write_all(b"Kernel panic\r\n").unwrap();
    drop((status, console));
    let error = follow(ports, no_signals(), Duration::from_secs(60)).unwrap_err();
    assert!(matches!(error, NestedError::Died { console } if console == "Kernel panic"));
}

#[test]
fn silence_is_a_timeout() {
    let (ports, _machine) = machine();
    let error = follow(ports, no_signals(), Duration::from_millis(20)).unwrap_err();
    assert!(matches!(error, NestedError::Timeout { .. }));
}

#[test]
fn ending_is_a_status_or_a_step_that_failed() {
    let exited = Ending::Exited {
        status: 0,
        bytes: [12, 7],
    };
    assert_eq!(ending("ended 0 12 7"), exited);
    assert_eq!(
        ending("failed mount its own disk"),
        Ending::Failed("mount its own disk".to_owned())
    );
    assert_eq!(
        ending("ended 300 0 0"),
        Ending::Failed("ended 300 0 0".to_owned())
    );
}
