//! A command whose output is read while it runs.
//!
//! Invariant: once it is killed, its end waits for nobody who reads or writes its streams.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use agent::protocol::{Frame, MAX_DATA, TerminalSize, write_frame};

use super::Connection;
use super::output::ExitStatus;
use super::queue::{Cutter, ProcessOutput, Sender, queue};
use super::running::{Event, Running};
use crate::error::{Error, Repr};
use crate::op::Op;

const SIGKILL: i32 = 9;

/// A command that was started. Dropping it leaves the command running, and drops what it prints.
pub struct Process {
    control: ProcessControl,
    stdin: Option<ProcessStdin>,
    stdout: Option<ProcessOutput>,
    stderr: Option<ProcessOutput>,
    end: Op<ExitStatus>,
}

impl Process {
    pub(super) fn start(mut running: Running) -> Result<Self, Error> {
        let is_piped = running.is_piped();
        let (out, stdout) = queue();
        let (err, stderr) = queue();
        let is_killed = running.is_killed();
        let control = ProcessControl {
            writer: Arc::new(Mutex::new(running.writer()?)),
            closer: Arc::from(running.writer()?),
            is_killed: Arc::clone(&is_killed),
            outputs: [out.cutter(), err.cutter()],
        };
        let end = Op::start("command", move || {
            let end = relay(&mut running, &out, &err);
            match end {
                // Whoever hangs up on a command gets no answer, but knows it.
                Err(_) if is_killed.load(Ordering::SeqCst) => Ok(ExitStatus::Signal(SIGKILL)),
                end => end,
            }
        });
        let stdin = is_piped.then(|| ProcessStdin {
            control: control.clone(),
        });
        Ok(Self {
            control,
            stdin,
            stdout: Some(stdout),
            stderr: Some(stderr),
            end,
        })
    }

    /// Its standard input, if it was described with [`stdin_piped`](super::Command::stdin_piped); once.
    pub fn take_stdin(&mut self) -> Option<ProcessStdin> {
        self.stdin.take()
    }

    /// What it writes to its standard output; once. If it is not read the command waits, sooner or later; if it is
    /// dropped, or never taken before [`wait`](Self::wait), the output is dropped too.
    pub fn take_stdout(&mut self) -> Option<ProcessOutput> {
        self.stdout.take()
    }

    /// What it writes to its standard error, like [`take_stdout`](Self::take_stdout).
    pub fn take_stderr(&mut self) -> Option<ProcessOutput> {
        self.stderr.take()
    }

    /// A handle to signal it with while another thread waits for it.
    #[must_use]
    pub fn control(&self) -> ProcessControl {
        self.control.clone()
    }

    /// Waits for its end, after the end of its input unless that was taken. The operation fails as
    /// [`Command::output`](super::Command::output) does.
    pub fn wait(self) -> Op<ExitStatus> {
        self.end
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

fn relay(running: &mut Running, stdout: &Sender, stderr: &Sender) -> Result<ExitStatus, Error> {
    loop {
        // A reader that is gone wants no more, which is no reason to end the command.
        match running.next()? {
            Event::Stdout(bytes) => stdout.send(bytes),
            Event::Stderr(bytes) => stderr.send(bytes),
            Event::End(status) => return Ok(status),
        }
    }
}

/// The standard input of a process. Dropping it is the end of the input.
#[derive(Debug)]
pub struct ProcessStdin {
    control: ProcessControl,
}

impl Write for ProcessStdin {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let count = buf.len().min(MAX_DATA);
        if count > 0 {
            self.control.send(&Frame::Stdin(buf[..count].to_vec()))?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ProcessStdin {
    fn drop(&mut self) {
        // A process that has ended needs no end of its input.
        drop(self.control.send(&Frame::StdinEnd));
    }
}

/// Signals for a process; clones are for the same one.
#[derive(Debug, Clone)]
pub struct ProcessControl {
    writer: Arc<Mutex<Box<dyn Connection>>>,
    /// Apart from the writer, which is held for as long as the command doesn't read its input.
    closer: Arc<dyn Connection>,
    is_killed: Arc<AtomicBool>,
    outputs: [Cutter; 2],
}

impl ProcessControl {
    /// Sends a signal to the command's process group. It queues behind input that the command has not read yet.
    ///
    /// # Errors
    /// [`ErrorKind::Guest`](crate::ErrorKind::Guest) if the command or its guest has ended.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        let doing = "sending a signal";
        let sent = self.send(&Frame::Signal(signal));
        Ok(sent.map_err(|source| Repr::Connection { doing, source })?)
    }

    /// Tells the command's terminal what size it has now. It queues behind input that the command has not read yet.
    ///
    /// # Errors
    /// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a size of nothing.
    /// - [`ErrorKind::Guest`](crate::ErrorKind::Guest) if the command or its guest has ended.
    pub fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        let TerminalSize { rows, columns } = size;
        if rows == 0 || columns == 0 {
            return Err(Repr::TerminalSize { rows, columns }.into());
        }
        let doing = "changing the size of a terminal";
        let sent = self.send(&Frame::Resize(size));
        Ok(sent.map_err(|source| Repr::Connection { doing, source })?)
    }

    /// Kills the command, whatever it does, and drops what it printed that has not come to the host's readers yet. Its status is then that of
    /// SIGKILL, unless it has ended before.
    pub fn kill(&self) {
        self.is_killed.store(true, Ordering::SeqCst);
        // Unlike a signal, hanging up overtakes input that the command has not read.
        self.closer.hang_up();
        // The thread that hears of it may be waiting for a reader.
        self.outputs.iter().for_each(Cutter::cut);
    }

    fn send(&self, frame: &Frame) -> io::Result<()> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        write_frame(&mut *writer, frame)
    }
}
