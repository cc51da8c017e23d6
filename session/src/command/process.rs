//! A command whose output is read while it runs.
//!
//! Invariant: no more than [`QUEUED`] pieces of a stream wait to be read; then the guest's command waits.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use agent::protocol::{Frame, MAX_DATA, write_frame};

use super::Connection;
use super::output::ExitStatus;
use super::running::{Event, Running};
use crate::error::{Error, Repr};
use crate::op::Op;

/// How many pieces of output, of 64 KiB or less, wait for each reader.
const QUEUED: usize = 16;

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
        let control = ProcessControl {
            writer: Arc::new(Mutex::new(running.writer()?)),
            closer: Arc::from(running.writer()?),
            is_killed: Arc::new(AtomicBool::new(false)),
        };
        let is_piped = running.is_piped();
        let (out, stdout) = queue();
        let (err, stderr) = queue();
        let is_killed = Arc::clone(&control.is_killed);
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

fn relay(
    running: &mut Running,
    stdout: &SyncSender<Vec<u8>>,
    stderr: &SyncSender<Vec<u8>>,
) -> Result<ExitStatus, Error> {
    loop {
        // A reader that is gone wants no more, which is no reason to end the command.
        match running.next()? {
            Event::Stdout(bytes) => drop(stdout.send(bytes)),
            Event::Stderr(bytes) => drop(stderr.send(bytes)),
            Event::End(status) => return Ok(status),
        }
    }
}

fn queue() -> (SyncSender<Vec<u8>>, ProcessOutput) {
    let (sender, pieces) = sync_channel(QUEUED);
    (
        sender,
        ProcessOutput {
            pieces,
            current: Vec::new(),
            used: 0,
        },
    )
}

/// One of the streams that a process writes. It ends when the process does, or its guest.
#[derive(Debug)]
pub struct ProcessOutput {
    pieces: Receiver<Vec<u8>>,
    current: Vec<u8>,
    used: usize,
}

impl Read for ProcessOutput {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.used == self.current.len() {
            match self.pieces.recv() {
                Ok(piece) => (self.current, self.used) = (piece, 0),
                Err(_) => return Ok(0),
            }
        }
        let count = buf.len().min(self.current.len() - self.used);
        buf[..count].copy_from_slice(&self.current[self.used..self.used + count]);
        self.used += count;
        Ok(count)
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

    /// Kills the command, whatever it does, and drops what it printed that was not read yet. Its status is then that of
    /// SIGKILL, unless it has ended before.
    pub fn kill(&self) {
        self.is_killed.store(true, Ordering::SeqCst);
        // Unlike a signal, hanging up overtakes input that the command has not read.
        self.closer.hang_up();
    }

    fn send(&self, frame: &Frame) -> io::Result<()> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        write_frame(&mut *writer, frame)
    }
}
