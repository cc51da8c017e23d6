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

use super::power::{self, Ending};
use super::signal::{Target, send};
use super::{console, mounts};

/// How long processes have to end after SIGTERM.
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
        let ending = match signals.wait() {
            Ok(Signal::SIGUSR1 | Signal::SIGUSR2) => Ending::PowerOff,
            Ok(Signal::SIGTERM | Signal::SIGINT) => Ending::Restart,
            _ => match reap(server) {
                Reaped::Others => continue,
                Reaped::Server => {
                    console::say("fatal: the command server ended");
                    Ending::PowerOff
                }
            },
        };
        shut_down(server, ending);
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
fn shut_down(server: u32, ending: Ending) -> ! {
    console::say("shutting down");
    // The server survives SIGTERM, to tell the host how the commands ended.
    drop(send(Target::Everyone, libc::SIGTERM));
    wait_until(TERM_GRACE, || {
        reap(server);
        !any_process_but(server)
    });
    drop(send(Target::Everyone, libc::SIGKILL));
    wait_until(KILL_GRACE, || {
        reap(server);
        !any_process_but(1)
    });
    mounts::unmount_all();
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
    let Ok(entries) = fs::read_dir("/proc") else {
        return false;
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != 1 && *pid != spared).any(is_alive)
}

/// Kernel threads have no executable, zombies neither, and a process that just ended has no entry.
fn is_alive(pid: u32) -> bool {
    fs::read_link(Path::new("/proc").join(pid.to_string()).join("exe")).is_ok()
}
