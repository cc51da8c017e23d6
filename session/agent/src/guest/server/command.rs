//! Running a command.
//!
//! A loop over poll(2) moves bytes between the connection and the command's pipes, and holds back whichever side
//! is faster. Bytes that a command has written when it ends always reach the host. Its pipes may outlive it in
//! processes that it left behind; those are listened to for [`DRAIN`] longer, and what they write then is lost.
//!
//! Invariant: when [`run`] returns, the process has been waited for, and no descriptor of the command is open.

mod output;
mod relay;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use agent::protocol::{Config, Exec, ExitStatus, Failure, FailureKind, Frame};
use nix::poll::PollFlags;

use super::job::failed;
use super::link::{Link, wait_ready};
use super::once;
use super::process::{self, Process};
use crate::guest::console::one_line;
use crate::guest::identity::{Root, open_root};
use relay::{Outcome, Relay};

/// How long a command whose host is gone may take to end after SIGHUP.
const HANGUP_GRACE: Duration = Duration::from_millis(500);
/// How long pipes that a command's descendants hold open are listened to after its end.
const DRAIN: Duration = Duration::from_millis(200);

/// Runs a command and returns the last frame for the host; `None` if the host is gone.
pub(super) fn run(link: &mut Link, exec: &Exec, defaults: &Config) -> Option<Frame> {
    let started = check_once(exec).and_then(|()| process::start(exec, defaults));
    let (process, pipes) = match started {
        Ok(started) => started,
        Err(failure) => return Some(Frame::Failed(failure)),
    };
    match Relay::new(link, &process, pipes, exec.stdin).run() {
        Outcome::Ended => Some(match process.wait() {
            Ok(ExitStatus::Code(0)) => match mark_done(exec) {
                Ok(()) => Frame::Exit(ExitStatus::Code(0)),
                Err(failure) => Frame::Failed(failure),
            },
            Ok(status) => Frame::Exit(status),
            Err(error) => {
                let message = format!("could not learn how the command ended: {error}");
                failed(FailureKind::System, message)
            }
        }),
        Outcome::Abandoned => {
            hang_up(process);
            None
        }
        Outcome::Broken(message) => {
            hang_up(process);
            Some(failed(FailureKind::Invalid, message))
        }
    }
}

/// Fails if the command is to be run once, and has been.
fn check_once(exec: &Exec) -> Result<(), Failure> {
    match &exec.once {
        Some(task) => once::check(&root()?, task),
        None => Ok(()),
    }
}

/// Remembers that a command that is to be run once has succeeded.
fn mark_done(exec: &Exec) -> Result<(), Failure> {
    match &exec.once {
        Some(task) => once::mark(&root()?, task),
        None => Ok(()),
    }
}

fn root() -> Result<Root, Failure> {
    open_root().map_err(|error| Failure {
        kind: FailureKind::System,
        message: one_line(&error),
    })
}

/// Ends a command that nobody listens to any more.
fn hang_up(process: Process) {
    drop(process.signal(libc::SIGHUP));
    let _ = wait_ready(
        &process.exited,
        PollFlags::POLLIN,
        Instant::now() + HANGUP_GRACE,
    );
    // Also for those of its group that outlive it; the number stays theirs until the wait.
    drop(process.signal(libc::SIGKILL));
    drop(process.wait());
}
