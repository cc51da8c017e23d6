//! The same work on several threads.

use std::panic::resume_unwind;
use std::thread;

/// Does `work` on this thread and on others, `count` at most; if the host gives no more threads, fewer will do.
///
/// If it panics on one of them, `stop` should make the others end; the panic then goes on, on this thread.
pub(super) fn work_together(
    name: &str,
    count: usize,
    work: &(dyn Fn() + Sync),
    stop: &(dyn Fn() + Sync),
) {
    let work = || {
        let stops = StopsIfPanicking(stop);
        work();
        drop(stops);
    };
    thread::scope(|scope| {
        let spawn = |_| {
            let thread = thread::Builder::new().name(name.to_owned());
            thread.spawn_scoped(scope, work).ok()
        };
        let others: Vec<_> = (1..count).filter_map(spawn).collect();
        work();
        for other in others {
            other.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
}

struct StopsIfPanicking<'a>(&'a (dyn Fn() + Sync));

impl Drop for StopsIfPanicking<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            (self.0)();
        }
    }
}
