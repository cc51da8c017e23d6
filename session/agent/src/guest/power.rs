//! How a guest ends.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::unistd::sync;

use super::signal::{Target, send};
use super::{console, mounts};

/// How often, and with which pauses, file systems are asked to become read-only before they are made to.
const REMOUNT_TRIES: usize = 20;
const REMOUNT_PAUSE: Duration = Duration::from_millis(25);
/// How long the kernel may take for its emergency remount, which it does in the background.
const EMERGENCY_PATIENCE: Duration = Duration::from_secs(5);
/// How long killed processes have to let go of their files.
const KILL_PAUSE: Duration = Duration::from_millis(200);

/// What becomes of the machine.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ending {
    PowerOff,
    Restart,
}

/// Lets go of all disks, so that their file systems are clean, and ends the guest.
pub(super) fn stop(ending: Ending) -> ! {
    sync();
    mounts::unmount_all();
    if !remount_read_only() && !emergency_remount() {
        console::say("a file system stays writable; its journal will be replayed");
    }
    sync();
    let mode = match ending {
        Ending::PowerOff => RebootMode::RB_POWER_OFF,
        Ending::Restart => RebootMode::RB_AUTOBOOT,
    };
    let Err(error) = reboot(mode);
    console::say(&format!("fatal: could not end the guest: {error}"));
    loop {
        thread::park();
    }
}

/// Ends the guest over the head of an init that does not.
pub(super) fn force_off() -> ! {
    console::say("forcing power-off");
    drop(send(Target::Everyone, libc::SIGKILL));
    thread::sleep(KILL_PAUSE);
    stop(Ending::PowerOff)
}

/// Where file systems are mounted that could still be written to: the root at least, if nobody can tell.
fn writable() -> Vec<PathBuf> {
    match mounts::on_disks() {
        Ok(mounts) => {
            let writable = mounts.into_iter().filter(|mount| mount.is_writable);
            writable.map(|mount| mount.target).collect()
        }
        Err(_) => vec![PathBuf::from("/")],
    }
}

/// Asks for file systems that are read-only, which is refused as long as a file is open for writing.
fn remount_read_only() -> bool {
    for _ in 0..REMOUNT_TRIES {
        let targets = writable();
        if targets.is_empty() {
            return true;
        }
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        let mut is_refused = false;
        for target in targets.iter().rev() {
            let asked = mount(None::<&str>, target, None::<&str>, flags, None::<&str>);
            is_refused |= asked.is_err();
        }
        if is_refused {
            thread::sleep(REMOUNT_PAUSE);
        }
    }
    false
}

/// Makes every file system read-only whatever is open, as SysRq-U does.
fn emergency_remount() -> bool {
    if fs::write("/proc/sysrq-trigger", "u").is_err() {
        return false;
    }
    let deadline = Instant::now() + EMERGENCY_PATIENCE;
    while !writable().is_empty() && Instant::now() < deadline {
        thread::sleep(REMOUNT_PAUSE);
    }
    writable().is_empty()
}
