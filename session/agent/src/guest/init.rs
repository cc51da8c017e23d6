//! PID 1 for images that bring no init.
//!
//! It reaps what is orphaned, and obeys the signals that busybox's `halt`, `poweroff` and `reboot` send to init.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::reboot::set_cad_enabled;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::console;
use super::power::{self, Ending};
use super::signal::{self, Received, Target, send};

/// How long processes have to end after SIGTERM, unless whoever asked for the end says otherwise.
const TERM_GRACE: Duration = Duration::from_secs(2);
/// How long killed processes have to be gone.
const KILL_GRACE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// Keeps the signals that PID 1 waits for from being lost before it waits.
///
/// What it starts inherits the mask: the server blocks more, and the image's init gets [`unblock_signals`].
pub(super) fn block_signals() {
    // Only an invalid `how` argument can fail here, and nix passes a valid one.
    let _ = obeyed().thread_block();
}

/// Undoes [`block_signals`].
pub(super) fn unblock_signals() {
    // As above.
    let _ = obeyed().thread_unblock();
}

fn obeyed() -> SigSet {
    [
        Signal::SIGCHLD,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGTERM,
        Signal::SIGINT,
    ]
    .into_iter()
    .collect()
}

/// Serves as init until the guest ends.
pub(super) fn serve(server: Child) -> ! {
    let signals = obeyed();
    let server = server.id();
    // Ctrl-Alt-Del then comes as SIGINT instead of resetting the machine on the spot.
    let _ = set_cad_enabled(false);
    loop {
        // A halted machine could only be thrown away, so halt powers off as well.
        let (signal, time) = match signal::wait(&signals) {
            Ok(Received { signal, time }) => (Signal::try_from(signal).ok(), time),
            Err(_) => (None, None),
        };
        let ending = match signal {
            Some(Signal::SIGUSR1 | Signal::SIGUSR2) => Ending::PowerOff,
            Some(Signal::SIGTERM | Signal::SIGINT) => Ending::Restart,
            _ => match reap(server) {
                Reaped::Others => continue,
                Reaped::Server => {
                    console::say("fatal: the command server ended");
                    Ending::PowerOff
                }
            },
        };
        shut_down(server, ending, time.unwrap_or(TERM_GRACE));
    }
}

#[derive(PartialEq, Eq)]
enum Reaped {
    Others,
    Server,
}

fn reap(server: u32) -> Reaped {
    let mut reaped = Reaped::Others;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => {
                if u32::try_from(pid.as_raw()) == Ok(server) {
                    reaped = Reaped::Server;
                }
            }
            _ => return reaped,
        }
    }
}

/// Ends every process, leaves the root clean, and ends the guest.
fn shut_down(server: u32, ending: Ending, grace: Duration) -> ! {
    console::say("shutting down");
    // The server survives SIGTERM, to tell the host how the commands ended.
    drop(send(Target::Everyone, libc::SIGTERM));
    // A process that stands still hears nothing, and a shell at a terminal only that this hangs up.
    drop(send(Target::Everyone, libc::SIGCONT));
    for pid in processes().filter(|pid| has_terminal(*pid)) {
        drop(send(Target::Process(pid), libc::SIGHUP));
    }
    wait_until(grace, || {
        reap(server);
        !any_process_but(server)
    });
    drop(send(Target::Everyone, libc::SIGKILL));
    wait_until(KILL_GRACE, || {
        reap(server);
        !any_process_but(1)
    });
    power::stop(ending)
}

fn wait_until(patience: Duration, done: impl Fn() -> bool) {
    let deadline = Instant::now() + patience;
    while !done() && Instant::now() < deadline {
        thread::sleep(PAUSE);
    }
}

/// Whether a process of the guest's user space runs, besides init and `spared`.
fn any_process_but(spared: u32) -> bool {
    processes()
        .filter(|pid| *pid != 1 && *pid != spared)
        .any(is_alive)
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn has_terminal(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    terminal_of(&stat).is_some_and(|device| device != 0)
}

/// The terminal of a process, by a line of proc_pid_stat(5): its name is in parentheses and may hold any.
fn terminal_of(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(4)?.parse().ok()
}

/// Kernel threads have no executable, zombies neither, and a process that just ended has no entry.
fn is_alive(pid: u32) -> bool {
    fs::read_link(Path::new("/proc").join(pid.to_string()).join("exe")).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_read_behind_any_name() {
        assert_eq!(terminal_of("7 (sh) S 1 7 7 34816 7 4194304 1"), Some(34816));
        assert_eq!(terminal_of("7 (a) b) 1 2) S 1 7 7 0 -1 0"), Some(0));
        assert_eq!(terminal_of(""), None);
    }
}
