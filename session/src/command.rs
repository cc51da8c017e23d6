//! Commands in the guest.
//!
//! ```text
//! Command --output/status--> Running, read to its end on the operation's thread
//!         --spawn----------> Running, read on a thread of its own into the queues of a Process
//! ```

mod connection;
mod output;
mod patient;
mod process;
mod queue;
mod running;
mod stdin;

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use agent::protocol::TerminalSize;
use agent::protocol::{Exec, Once};

pub(crate) use connection::{Close, Connection, Guest, Incoming};
pub use output::{ExitStatus, Output};
pub(crate) use patient::{Patient, stall_of, unless_silent};
pub use process::{Process, ProcessControl, ProcessStdin};
pub use queue::ProcessOutput;
use running::{Event, Running};
use stdin::Stdin;

use crate::error::{Error, Repr};
use crate::identity::check::check_variable;
use crate::op::Op;

/// The most that [`Command::output`] keeps, unless it is told otherwise.
const OUTPUT_LIMIT: usize = 64 << 20;

/// A command that is being described, to be run in the guest.
///
/// It starts with the environment, the working directory and the user that the image names. It has no terminal unless it
/// is given one.
#[must_use = "nothing runs before `output`, `status` or `spawn`"]
pub struct Command {
    guest: Arc<dyn Guest>,
    exec: Exec,
    /// What is wrong with the first variable that is none.
    bad_variable: Option<Error>,
    stdin: Stdin,
    output_limit: usize,
    timeout: Option<Duration>,
}

impl Command {
    pub(crate) fn new(guest: Arc<dyn Guest>, program: String) -> Self {
        let exec = Exec {
            program,
            ..Exec::default()
        };
        Self {
            guest,
            exec,
            bad_variable: None,
            stdin: Stdin::Nothing,
            output_limit: OUTPUT_LIMIT,
            timeout: None,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.exec.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.exec.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of its environment. A name that is empty, or has a `=` or a zero byte, is none: then the command
    /// fails with [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput).
    pub fn env(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let (name, value) = (name.as_ref(), value.as_ref());
        if let Err(error) = check_variable(name, value) {
            self.bad_variable.get_or_insert(error);
        }
        self.exec.env.push(format!("{name}={value}"));
        self
    }

    /// The directory to start in.
    pub fn cwd(mut self, directory: impl Into<String>) -> Self {
        self.exec.cwd = Some(directory.into());
        self
    }

    /// Whom to run as: `user[:group]`, names of the image or numbers.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.exec.user = Some(user.into());
        self
    }

    /// Gives it these bytes to read; without any it reads `/dev/null`.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Stdin::Bytes(bytes.into());
        self
    }

    /// Gives it what `reader` yields, read on a thread of its own. That thread ends with the command, or, if a read
    /// takes longer, with that.
    pub fn stdin_from(mut self, reader: impl Read + Send + 'static) -> Self {
        self.stdin = Stdin::Reader(Box::new(reader));
        self
    }

    /// Lets [`Process::take_stdin`] write what it reads; for [`spawn`](Self::spawn) alone.
    pub fn stdin_piped(mut self) -> Self {
        self.stdin = Stdin::Piped;
        self
    }

    /// Gives it a terminal of `size` for its standard streams: all that it prints comes as standard output, and the end
    /// of its input is a Ctrl-D. `TERM` is `xterm` unless it is set.
    pub fn terminal(mut self, size: TerminalSize) -> Self {
        self.exec.terminal = Some(size);
        self
    }

    /// The most bytes that [`output`](Self::output) takes, of both streams together; 64 MiB if it is not called.
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_limit = bytes;
        self
    }

    /// How long it is waited for what it prints and for its end, in all, from when it was handed to the guest; then it is
    /// killed, and an [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) says so. Time in which the session is paused does
    /// not count, nor that in which its output waits to be taken. Without this it may run for as long as its session.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Runs it and collects what it prints. A status that isn't zero is no error.
    ///
    /// The operation fails with
    /// - [`ErrorKind::Command`](crate::ErrorKind::Command): it could not be started, or printed too much;
    /// - [`ErrorKind::Timeout`](crate::ErrorKind::Timeout): its [time](Self::timeout) was over;
    /// - [`ErrorKind::Guest`](crate::ErrorKind::Guest): the guest is gone.
    pub fn output(self) -> Op<Output> {
        Op::start("command", move || {
            let limit = self.output_limit;
            self.collect(limit)
        })
    }

    /// Runs it and drops what it prints. It fails as [`output`](Self::output) does.
    pub fn status(self) -> Op<ExitStatus> {
        Op::start("command", move || {
            let mut running = self.start()?;
            loop {
                if let Event::End(status) = running.next()? {
                    return Ok(status);
                }
            }
        })
    }

    /// Starts it, to read what it prints while it runs. A program that can't be started is reported by
    /// [`Process::wait`].
    pub fn spawn(self) -> Op<Process> {
        Op::start("spawn", move || Process::start(self.start()?))
    }

    /// That it is to succeed once in the life of its machine.
    pub(crate) fn once(mut self, once: Once) -> Self {
        self.exec.once = Some(once);
        self
    }

    /// Runs it on this thread. `started` gets what ends it, `sink` what it prints on either stream.
    pub(crate) fn follow(
        self,
        started: impl FnOnce(Killer),
        mut sink: impl FnMut(&[u8]),
    ) -> Result<ExitStatus, Error> {
        let mut running = self.start()?;
        started(Killer {
            connection: running.writer()?,
            is_killed: running.is_killed(),
        });
        loop {
            match running.next()? {
                Event::Stdout(bytes) | Event::Stderr(bytes) => sink(&bytes),
                Event::End(status) => return Ok(status),
            }
        }
    }

    fn start(self) -> Result<Running, Error> {
        if let Some(error) = self.bad_variable {
            return Err(error);
        }
        if let Some(TerminalSize { rows, columns }) = self.exec.terminal
            && (rows == 0 || columns == 0)
        {
            return Err(Repr::TerminalSize { rows, columns }.into());
        }
        Running::start(self.guest, self.exec, self.stdin, self.timeout)
    }

    fn collect(self, limit: usize) -> Result<Output, Error> {
        let begun = Instant::now();
        let program = self.exec.program.clone();
        let mut running = self.start()?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let status = loop {
            match running.next()? {
                Event::Stdout(bytes) => stdout.extend(bytes),
                Event::Stderr(bytes) => stderr.extend(bytes),
                Event::End(status) => break status,
            }
            if stdout.len() + stderr.len() > limit {
                return Err(Repr::OutputTooLong { program, limit }.into());
            }
        };
        Ok(Output {
            status,
            stdout,
            stderr,
            elapsed: begun.elapsed(),
        })
    }
}

/// What ends a command that another thread follows.
#[derive(Debug)]
pub(crate) struct Killer {
    connection: Box<dyn Connection>,
    is_killed: Arc<AtomicBool>,
}

impl Killer {
    /// Kills the command. Whoever follows it gets an error.
    pub(crate) fn kill(&self) {
        self.is_killed.store(true, Ordering::SeqCst);
        self.connection.hang_up();
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("exec", &self.exec)
            .field("stdin", &self.stdin)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
