//! How a guest ends.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::sync;

use super::console;
use super::signal::{Target, send};

/// How often, and with which pauses, the root is asked to become read-only before it is made to.
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

/// Makes the root read-only, so that its file system is clean, and ends the guest.
pub(super) fn stop(ending: Ending) -> ! {
    sync();
    if !remount_read_only() && !emergency_remount() {
        console::say("the root stays writable; its journal will be replayed");
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

fn is_read_only() -> bool {
    statvfs("/").is_ok_and(|stat| stat.flags().contains(FsFlags::ST_RDONLY))
}

/// Asks for a read-only root, which is refused as long as a file is open for writing.
fn remount_read_only() -> bool {
    for _ in 0..REMOUNT_TRIES {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        if is_read_only() || mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).is_ok() {
            return true;
        }
        thread::sleep(REMOUNT_PAUSE);
    }
    false
}

/// Makes every file system read-only whatever is open, as SysRq-U does.
fn emergency_remount() -> bool {
    if fs::write("/proc/sysrq-trigger", "u").is_err() {
        return false;
    }
    let deadline = Instant::now() + EMERGENCY_PATIENCE;
    while !is_read_only() && Instant::now() < deadline {
        thread::sleep(REMOUNT_PAUSE);
    }
    is_read_only()
}
