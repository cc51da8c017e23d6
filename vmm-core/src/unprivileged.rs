//! A user who may do nothing, for tests of what such users are told.

use std::thread;

use rustix::process::geteuid;
use rustix::thread::{set_thread_groups, set_thread_res_uid};

/// `nobody` of all distributions.
const NOBODY: u32 = 65534;

/// Does `work` on a thread that has lost root's rights, if this one has them.
pub(crate) fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if geteuid().is_root() {
                let nobody = rustix::thread::Uid::from_raw(NOBODY);
                set_thread_groups(&[]).unwrap();
                set_thread_res_uid(nobody, nobody, nobody).unwrap();
            }
            work()
        });
        thread.join().unwrap()
    })
}
