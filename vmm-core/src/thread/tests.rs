use std::fs;

use super::*;

/// The blocked signals of a thread, bit 0 for signal 1.
fn blocked() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("SigBlk:"));
    u64::from_str_radix(line.unwrap()[7..].trim(), 16).unwrap()
}

#[test]
fn threads_take_the_kick_alone_and_leave_the_callers_mask_as_it_was() {
    let before = blocked();
    for (role, takes_kick) in [(Role::Vcpu, true), (Role::Other, false)] {
        let mut thread = NewThread::unfiltered("vm-test");
        thread.role = role;
        let thread = spawn(thread, move || {
            let is_blocked = |signal: i32| blocked() >> (signal - 1) & 1 == 1;
            assert_eq!(is_blocked(kick_signal()), !takes_kick);
            assert!(is_blocked(libc::SIGTERM));
            assert!(is_blocked(libc::SIGCHLD));
            assert!(!is_blocked(libc::SIGSEGV));
        });
        assert_eq!(blocked(), before);
        thread.unwrap().join().unwrap();
    }
}
