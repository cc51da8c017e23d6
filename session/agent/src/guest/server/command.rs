//! One connection, one command.
//!
//! A loop over poll(2) moves bytes between the connection and the command's pipes, and holds back whichever side
//! is faster. Bytes that a command has written when it ends always reach the host. Its pipes may outlive it in
//! processes that it left behind; those are listened to for [`DRAIN`] longer, and what they write then is lost.
//!
//! Invariant: when [`serve`] returns, the process has been waited for, and no descriptor of the command is open.

mod output;
mod relay;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use agent::protocol::{
    Config, Decoder, Exec, ExitStatus, Failure, FailureKind, Frame, MAX_COMMANDS, MAX_DATA,
};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::once;
use super::process::{self, Process, set_nonblocking};
use crate::guest::console::one_line;
use crate::guest::identity::{Root, open_root};
use relay::{Outcome, Relay};

/// How long a connection may take to say what to run.
const EXEC_PATIENCE: Duration = Duration::from_secs(10);
/// How long a command whose host is gone may take to end after SIGHUP.
const HANGUP_GRACE: Duration = Duration::from_millis(500);
/// How long the host may take to close after the last frame.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// How long pipes that a command's descendants hold open are listened to after its end.
const DRAIN: Duration = Duration::from_millis(200);

/// The host has closed its sending half, or all of the connection. nix has no name for it, and gives no events at all
/// where it is among them.
const HOST_GONE: PollFlags = PollFlags::from_bits_retain(libc::POLLRDHUP);

/// Serves one connection to its end. `place` is asked for a place among the commands that may run.
pub(super) fn serve<P>(connection: File, defaults: &Config, place: impl FnOnce() -> Option<P>) {
    if set_nonblocking(&connection).is_err() {
        return;
    }
    let mut link = Link {
        connection,
        decoder: Decoder::default(),
        outgoing: Vec::new(),
        sent: 0,
    };
    let Some(exec) = link.receive_exec() else {
        return;
    };
    let place = place();
    let last = match exec {
        Ok(_) if place.is_none() => {
            let message = format!("the guest runs {MAX_COMMANDS} commands already");
            Some(Frame::Failed(Failure {
                kind: FailureKind::Busy,
                message,
            }))
        }
        Ok(exec) => run(&mut link, &exec, defaults),
        Err(failure) => Some(Frame::Failed(failure)),
    };
    drop(place);
    if let Some(frame) = last {
        link.finish(&frame);
    }
}

/// Runs a command and returns the last frame for the host; `None` if the host is gone.
fn run(link: &mut Link, exec: &Exec, defaults: &Config) -> Option<Frame> {
    let started = check_once(exec).and_then(|()| process::start(exec, defaults));
    let (process, pipes) = match started {
        Ok(started) => started,
        Err(failure) => return Some(Frame::Failed(failure)),
    };
    match Relay::new(link, &process, pipes).run() {
        Outcome::Ended => Some(match process.wait() {
            Ok(ExitStatus::Code(0)) => match mark_done(exec) {
                Ok(()) => Frame::Exit(ExitStatus::Code(0)),
                Err(failure) => Frame::Failed(failure),
            },
            Ok(status) => Frame::Exit(status),
            Err(error) => {
                let message = format!("could not learn how the command ended: {error}");
                Frame::Failed(Failure {
                    kind: FailureKind::System,
                    message,
                })
            }
        }),
        Outcome::Abandoned => {
            hang_up(process);
            None
        }
        Outcome::Broken(message) => {
            hang_up(process);
            Some(Frame::Failed(Failure {
                kind: FailureKind::Invalid,
                message,
            }))
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

/// The connection with what was received and not yet understood, and what is yet to be sent.
#[derive(Debug)]
struct Link {
    connection: File,
    decoder: Decoder,
    outgoing: Vec<u8>,
    /// How many bytes of `outgoing` are sent.
    sent: usize,
}

/// What a read or write that doesn't wait came to.
#[derive(Debug, PartialEq, Eq)]
enum Io {
    Progress,
    WouldBlock,
    Closed,
}

impl Link {
    /// Waits for the Exec frame; `None` if there is no host to answer to.
    fn receive_exec(&mut self) -> Option<Result<Exec, Failure>> {
        let deadline = Instant::now() + EXEC_PATIENCE;
        loop {
            let message = match self.decoder.next_frame() {
                Ok(Some(Frame::Exec(exec))) => return Some(Ok(exec)),
                Ok(None) => {
                    if !wait_ready(&self.connection, PollFlags::POLLIN, deadline)
                        || self.receive() == Io::Closed
                    {
                        return None;
                    }
                    continue;
                }
                Ok(Some(_)) => "the first frame of a command connection is not Exec".to_owned(),
                Err(error) => error.to_string(),
            };
            return Some(Err(Failure {
                kind: FailureKind::Invalid,
                message,
            }));
        }
    }

    /// Reads once.
    fn receive(&mut self) -> Io {
        let mut bytes = [0; 16 << 10];
        match self.connection.read(&mut bytes) {
            Ok(0) => Io::Closed,
            Ok(len) => {
                self.decoder.push(&bytes[..len]);
                Io::Progress
            }
            Err(error) => Io::from(&error),
        }
    }

    fn unsent(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    /// Whether there is room for one more frame of data.
    fn has_room(&self) -> bool {
        self.unsent() < MAX_DATA
    }

    fn queue(&mut self, frame: &Frame) {
        if self.unsent() == 0 {
            self.outgoing.clear();
            self.sent = 0;
        }
        // Data is at most MAX_DATA, and a Failure is at most as long as the Exec that it is about, six times
        // over when it is all control characters: a frame that doesn't fit is replaced by one that does.
        if frame.encode(&mut self.outgoing).is_err() {
            let message = "the request's names are too long to repeat".to_owned();
            let failure = Frame::Failed(Failure {
                kind: FailureKind::Invalid,
                message,
            });
            drop(failure.encode(&mut self.outgoing));
        }
    }

    /// Writes as much as the connection takes.
    fn send(&mut self) -> Io {
        while self.unsent() > 0 {
            match self.connection.write(&self.outgoing[self.sent..]) {
                Ok(0) => return Io::Closed,
                Ok(len) => self.sent += len,
                Err(error) => match Io::from(&error) {
                    Io::Progress => {}
                    other => return other,
                },
            }
        }
        Io::Progress
    }

    /// Sends the last frame and waits for the host to close, so that closing here can't overtake the frame.
    fn finish(&mut self, frame: &Frame) {
        self.queue(frame);
        loop {
            match self.send() {
                Io::Progress => break,
                Io::WouldBlock if self.wait_writable() => {}
                _ => return,
            }
        }
        let deadline = Instant::now() + CLOSE_PATIENCE;
        let mut ignored = [0; 4096];
        while wait_ready(&self.connection, PollFlags::POLLIN, deadline) {
            match self.connection.read(&mut ignored) {
                Ok(0) => return,
                Err(error) if Io::from(&error) == Io::Closed => return,
                _ => {}
            }
        }
    }

    /// Waits until the host takes bytes again, for as long as it stays connected.
    fn wait_writable(&self) -> bool {
        // While input of the host's is left unread, its hanging up makes the connection neither writable nor broken.
        let events = PollFlags::POLLOUT | HOST_GONE;
        let mut fds = [PollFd::new(self.connection.as_fd(), events)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => fds[0].revents() == Some(PollFlags::POLLOUT),
            Err(error) => error == Errno::EINTR,
        }
    }
}

impl From<&io::Error> for Io {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock => Self::WouldBlock,
            io::ErrorKind::Interrupted => Self::Progress,
            _ => Self::Closed,
        }
    }
}

/// Waits until the descriptor has one of these events; `false` at the deadline.
fn wait_ready(fd: impl AsFd, events: PollFlags, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(fd.as_fd(), events)];
        match poll(&mut fds, timeout(left)) {
            Ok(0) if left.is_zero() => return false,
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

/// A duration as poll(2) takes it, rounded up so that it never returns just before the time.
fn timeout(left: Duration) -> PollTimeout {
    let millis = left.as_micros().div_ceil(1000);
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
}
