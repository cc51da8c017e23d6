//! The same work on several threads, and who looks meanwhile whether it is still wanted.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;

use crate::registry::{SLICE, Wanted};

/// Does `work` on so many threads; if the host gives fewer, fewer will do.
///
/// Those that wait for an origin can't ask whether they still should, so it is this thread that does, and ends `wanted`
/// once `is_cancelled` says yes. So does a panic, of any of them, which then goes on on this thread.
pub(super) fn work_together(
    name: &str,
    threads: usize,
    wanted: &Wanted,
    is_cancelled: &(dyn Fn() -> bool + Sync),
    work: &(dyn Fn() + Sync),
) {
    let caller = tracing::Span::current();
    let run = || caller.in_scope(|| wanted.during(work));
    thread::scope(|scope| {
        let (running, ended) = channel::<()>();
        let spawn = |_| {
            let running = running.clone();
            let thread = thread::Builder::new().name(name.to_owned());
            let run = || {
                run();
                drop(running);
            };
            thread.spawn_scoped(scope, run).ok()
        };
        let spawned: Vec<_> = (0..threads).filter_map(spawn).collect();
        if spawned.is_empty() {
            // The host gives no thread: one after the other will do.
            run();
        }
        drop(running);
        let ends = wanted.ends();
        while ended.recv_timeout(SLICE) == Err(RecvTimeoutError::Timeout) {
            if is_cancelled() {
                break;
            }
        }
        drop(ends);
        for thread in spawned {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
}
