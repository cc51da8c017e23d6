use std::hint::black_box;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use super::*;

const A_LITTLE: Duration = Duration::from_millis(20);

fn work_until(done: impl Fn() -> bool) {
    while !done() {
        (0..1000).for_each(|n| {
            black_box(n);
        });
    }
}

#[test]
fn another_thread_sees_the_time_grow_and_then_stand() {
    let time = Arc::new(CpuTime::default());
    assert_eq!(time.read(), Duration::ZERO);
    let (go_on, wait) = mpsc::channel::<()>();
    let counted = Arc::clone(&time);
    let thread = thread::spawn(move || {
        let _guard = counted.count_this_thread();
        work_until(|| wait.try_recv().is_ok());
    });
    work_until(|| time.read() > A_LITTLE);
    go_on.send(()).unwrap();
    thread.join().unwrap();
    let last = time.read();
    assert!(last > A_LITTLE, "{last:?}");
    // Whoever has the clock's number now.
    let begun = Instant::now();
    let busy = thread::spawn(move || work_until(|| begun.elapsed() > A_LITTLE));
    busy.join().unwrap();
    assert_eq!(time.read(), last);
}

#[test]
fn a_thread_that_waits_uses_no_time() {
    let time = Arc::new(CpuTime::default());
    let (go_on, wait) = mpsc::channel::<()>();
    let counted = Arc::clone(&time);
    let thread = thread::spawn(move || {
        let _guard = counted.count_this_thread();
        wait.recv()
    });
    thread::sleep(10 * A_LITTLE);
    let used = time.read();
    assert!(used < A_LITTLE, "{used:?}");
    drop(go_on);
    assert!(thread.join().unwrap().is_err());
}

#[test]
fn a_thread_that_panics_leaves_its_last_figure() {
    let time = Arc::new(CpuTime::default());
    let counted = Arc::clone(&time);
    let thread = thread::spawn(move || {
        let guard = counted.count_this_thread();
        work_until(|| guard.time.read() > A_LITTLE);
        std::panic::resume_unwind(Box::new("as planned"));
    });
    assert!(thread.join().is_err());
    let last = time.read();
    assert!(last > A_LITTLE);
    assert_eq!(time.read(), last);
}
