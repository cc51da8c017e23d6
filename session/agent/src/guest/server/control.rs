//! The control connection, once the guest runs.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use agent::protocol::{FailureKind, Frame, Frozen, read_frame, write_frame};

use super::freeze::Freezer;
use super::job::failed;
use super::notice;
use super::process::unblock_signals;
use crate::guest::signal::{Target, send, send_with_time};
use crate::guest::{DEFAULT_PATH, console, power};

/// How often systemd is asked to power off: in its first moments it still drops signals.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Answers requests until the connection ends. `init` is the image's own.
pub(super) fn serve(control: &mut File, init: Option<&str>) {
    let freezer = Freezer::default();
    while let Ok(Some(frame)) = read_frame(control) {
        let answer = match frame {
            Frame::Freeze(request) => match freezer.freeze(millis(request.limit_ms)) {
                Ok(took) => Frame::Frozen(Frozen {
                    took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                }),
                Err(error) => failed(
                    FailureKind::System,
                    format!("could not freeze the file systems: {error}"),
                ),
            },
            Frame::Thaw if freezer.thaw() => Frame::Thawed,
            Frame::Thaw => failed(
                FailureKind::Invalid,
                "nothing was frozen any more".to_owned(),
            ),
            Frame::Notice(text) => {
                notice::show(&text.text);
                Frame::Noticed
            }
            Frame::PowerOff(request) => start_power_off(init, millis(request.grace_ms)),
            _ => failed(
                FailureKind::Invalid,
                "the control connection takes Freeze, Thaw, Notice and PowerOff".to_owned(),
            ),
        };
        if write_frame(control, &answer).is_err() {
            return;
        }
    }
}

fn millis(count: u32) -> Duration {
    Duration::from_millis(u64::from(count))
}

fn start_power_off(init: Option<&str>, grace: Duration) -> Frame {
    let kind = InitKind::of(init);
    match thread::Builder::new().spawn(move || power_off(kind, grace)) {
        Ok(_) => Frame::PoweringOff,
        Err(error) => failed(
            FailureKind::System,
            format!("could not start the shutdown: {error}"),
        ),
    }
}

/// Whom a request to shut down goes to, and how.
#[derive(Debug, Clone, Copy)]
enum InitKind {
    /// PID 1 is this program: SIGUSR2 with the grace.
    Agent,
    /// SIGRTMIN+4 starts poweroff.target (systemd(1), SIGNALS).
    Systemd,
    /// sysvinit, OpenRC, runit, s6 and others each have a protocol of their own, which their `poweroff` speaks.
    Other,
}

impl InitKind {
    fn of(init: Option<&str>) -> Self {
        let Some(path) = init else {
            return Self::Agent;
        };
        let is_systemd = Path::new("/run/systemd/system").exists()
            || fs::canonicalize(path)
                .is_ok_and(|path| path.file_name().is_some_and(|name| name == "systemd"));
        if is_systemd {
            Self::Systemd
        } else {
            Self::Other
        }
    }
}

/// Asks init to end the guest, and ends it by force if init takes longer than `grace`.
fn power_off(kind: InitKind, grace: Duration) {
    let deadline = Instant::now() + grace;
    match kind {
        // It bounds its own shutdown, and ends this process on the way.
        InitKind::Agent => {
            if send_with_time(libc::SIGUSR2, grace).is_ok() {
                return;
            }
        }
        InitKind::Systemd => {
            while let Some(left) = deadline
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
            {
                drop(send(Target::Init, libc::SIGRTMIN() + 4));
                thread::sleep(left.min(ASK_AGAIN));
            }
        }
        InitKind::Other => match run_poweroff() {
            Ok(()) => thread::sleep(deadline.saturating_duration_since(Instant::now())),
            Err(error) => console::say(&format!("could not run the image's poweroff: {error}")),
        },
    }
    power::force_off()
}

fn run_poweroff() -> io::Result<()> {
    let mut command = Command::new("poweroff");
    command
        .env_clear()
        .env("PATH", DEFAULT_PATH)
        .stdin(Stdio::null());
    unblock_signals(&mut command);
    let mut child = command.spawn()?;
    // It may linger until the machine is off, so its status is left to a thread that nobody waits for.
    thread::Builder::new().spawn(move || child.wait())?;
    Ok(())
}
