//! The threads of a fill, and who looks meanwhile whether it is still wanted.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::Fill;

/// How often the caller is asked.
const POLL: Duration = Duration::from_millis(100);

impl Fill<'_> {
    /// Does `work` on so many threads. Those that wait for a registry can't ask whether they still should, so it is
    /// this one that does.
    pub(super) fn on_threads(&self, threads: usize, work: impl Fn() + Sync) {
        let caller = tracing::Span::current();
        let run = || caller.in_scope(&work);
        thread::scope(|scope| {
            let (running, ended) = channel::<()>();
            let spawned = (0..threads).filter(|_| {
                let running = running.clone();
                let thread = thread::Builder::new().name("fill".to_owned());
                let run = || {
                    run();
                    drop(running);
                };
                thread.spawn_scoped(scope, run).is_ok()
            });
            if spawned.count() == 0 {
                // The host gives no thread: one after the other will do.
                run();
            }
            drop(running);
            // A panic of the caller's ends them, too.
            let ends = self.wanted.ends();
            while ended.recv_timeout(POLL) == Err(RecvTimeoutError::Timeout) {
                if (self.options.is_cancelled)() {
                    drop(ends);
                    return;
                }
            }
        });
    }
}
