//! The command on this machine itself, whose KVM is good enough.
//!
//! Invariant: as in the emulated machine, what the command has started ends with it, and its input is empty.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::events::Signals;
use super::machine::guarded;
use super::{Args, NestedError};
use crate::command::{self, CommandError};
use crate::file_error::file_error;

/// How long a command that is told to end may take for it.
const GRACE: Duration = Duration::from_secs(10);

/// Runs the command and returns its status, which is 128 and the signal's number if one ended it, as in shells.
///
/// # Errors
/// [`NestedError::TimeoutHere`] and [`NestedError::Stopped`]; nothing is left of the command either way.
pub(super) fn run(args: &Args) -> Result<u8, NestedError> {
    note_meaningless(args);
    run_within(args, GRACE)
}

fn run_within(args: &Args, grace: Duration) -> Result<u8, NestedError> {
    let mut group = Group::start(args)?;
    let events = group.watch()?;
    let limit = Duration::from_secs(args.timeout_s);
    match events.recv_timeout(limit) {
        Ok(Event::Signal(signal)) => {
            group.stop(&events, grace);
            Err(NestedError::Stopped { signal })
        }
        Err(RecvTimeoutError::Timeout) => {
            group.stop(&events, grace);
            Err(NestedError::TimeoutHere { limit })
        }
        Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => {
            let status = group.end();
            Ok(code(status.map_err(file_error(
                "wait for",
                Path::new("the command"),
            ))?))
        }
    }
}

/// Names the options that only an emulated machine has a use for.
fn note_meaningless(args: &Args) {
    for (name, given) in [
        ("--rw", !args.rw.is_empty()),
        ("--memory-mib", args.memory_mib.is_some()),
        ("--cpus", args.cpus.is_some()),
    ] {
        if given {
            eprintln!("xtask: the command runs on this machine itself, so {name} has no effect");
        }
    }
}

#[derive(Debug)]
enum Event {
    /// The command has ended and is yet to be reaped.
    Ended,
    Signal(Signal),
}

/// A command and what it has started.
///
/// The command is reaped last, so that its number can't have become another's when the group is killed.
#[derive(Debug)]
struct Group {
    leader: Child,
    id: Pid,
}

impl Group {
    fn start(args: &Args) -> Result<Self, NestedError> {
        let (program, words) = args.command.split_first().ok_or(NestedError::NoCommand)?;
        let mut command = guarded(Path::new(program));
        command.args(words).process_group(0).stdin(Stdio::null());
        let leader = command.spawn().map_err(|source| CommandError::Start {
            line: command::line(&command),
            source,
        })?;
        let id = Pid::from_raw(leader.id().cast_signed());
        Ok(Self { leader, id })
    }

    /// Starts to wait for the command's end and for signals.
    ///
    /// The command has been started by now: it would inherit that signals are held back.
    fn watch(&self) -> Result<Receiver<Event>, NestedError> {
        let signals = Signals::hold().map_err(file_error("hold back", Path::new("signals")))?;
        let (sender, events) = channel();
        let ended: Sender<Event> = sender.clone();
        let id = self.id;
        thread::spawn(move || {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            while waitid(Id::Pid(id), flags) == Err(nix::errno::Errno::EINTR) {}
            // Nobody listens any more if the command was killed.
            let _ = ended.send(Event::Ended);
        });
        thread::spawn(move || {
            while let Ok(signal) = signals.wait() {
                if sender.send(Event::Signal(signal)).is_err() {
                    return;
                }
            }
        });
        Ok(events)
    }

    /// Asks everything to end, and kills what has not after `grace` or at the next signal.
    fn stop(&mut self, events: &Receiver<Event>, grace: Duration) {
        // Fails only for a group that is gone.
        let _ = killpg(self.id, Signal::SIGTERM);
        let _ = events.recv_timeout(grace);
        let _ = self.end();
    }

    /// Kills what is left, and returns how the command ended.
    fn end(&mut self) -> io::Result<ExitStatus> {
        let _ = killpg(self.id, Signal::SIGKILL);
        self.leader.wait()
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(super::STATUS_FAILED)
}

#[cfg(test)]
mod tests;
