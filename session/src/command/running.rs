//! A command that runs, frame by frame.
//!
//! Invariant: once it has ended, failed or been dropped, its connection is closed, and with it whatever still ran.

use std::io::{self, Cursor, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use agent::protocol::{Exec, Failure, Frame, MAX_DATA, ProtocolError, read_frame, write_frame};

use super::output::ExitStatus;
use super::stdin::{self, Stdin};
use super::{Connection, Guest, Patient, unless_silent};
use crate::activity::Occupied;
use crate::error::{Error, Repr};
use crate::telemetry;

/// What a running command does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// The last one.
    End(ExitStatus),
}

/// A command that was sent to the agent.
#[derive(Debug)]
pub(super) struct Running {
    guest: Arc<dyn Guest>,
    connection: Box<dyn Connection>,
    _occupied: Occupied,
    program: String,
    is_piped: bool,
    /// Whether the caller has hung up on it.
    is_killed: Arc<AtomicBool>,
    /// Why its input could not be read to the end.
    input_error: Arc<Mutex<Option<io::Error>>>,
    /// What is read from if its time is limited.
    limited: Option<Patient>,
}

impl Running {
    /// Sends the command, and starts to feed it.
    pub(super) fn start(
        guest: Arc<dyn Guest>,
        mut exec: Exec,
        stdin: Stdin,
        timeout: Option<Duration>,
    ) -> Result<Self, Error> {
        exec.stdin = !matches!(stdin, Stdin::Nothing);
        let mut running = Self {
            connection: guest.connect()?,
            _occupied: guest.occupy(),
            guest,
            program: exec.program.clone(),
            is_piped: matches!(stdin, Stdin::Piped),
            is_killed: Arc::default(),
            input_error: Arc::default(),
            limited: None,
        };
        let mut patient = Patient::for_answer(&running.guest, running.writer()?);
        let sent = write_frame(&mut patient, &Frame::Exec(exec));
        match sent.and_then(|()| patient.end()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                let program = running.program.clone();
                return Err(Repr::CommandTooLong { program }.into());
            }
            Err(source) => return Err(running.failed("sending a command", source)),
        }
        if let Some(limit) = timeout {
            let limited = Patient::for_all(&running.guest, running.writer()?, limit);
            running.limited = Some(limited);
        }
        match stdin {
            Stdin::Bytes(bytes) => running.feed(Box::new(Cursor::new(bytes)))?,
            Stdin::Reader(reader) => running.feed(reader)?,
            Stdin::Nothing | Stdin::Piped => {}
        }
        Ok(running)
    }

    fn feed(&self, reader: Box<dyn Read + Send>) -> Result<(), Error> {
        let name = "command-input";
        let connection = self.writer()?;
        let input_error = Arc::clone(&self.input_error);
        let feeder = move || {
            let Ok(closer) = connection.try_clone() else {
                return connection.hang_up();
            };
            if let Err(error) = stdin::feed(connection, reader) {
                *input_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                closer.hang_up();
            }
        };
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(feeder);
        Ok(spawned
            .map(drop)
            .map_err(|source| Repr::Thread { name, source })?)
    }

    /// A handle to write frames with.
    pub(super) fn writer(&self) -> Result<Box<dyn Connection>, Error> {
        let doing = "sharing it";
        let clone = self.connection.try_clone();
        Ok(clone.map_err(|source| Repr::Connection { doing, source })?)
    }

    /// Whether the caller writes its input.
    pub(super) fn is_piped(&self) -> bool {
        self.is_piped
    }

    /// To be set by whoever hangs up on it.
    pub(super) fn is_killed(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_killed)
    }

    /// Waits for what comes next.
    pub(super) fn next(&mut self) -> Result<Event, Error> {
        match self.read() {
            Ok(Some(Frame::Stdout(bytes) | Frame::Stderr(bytes))) if bytes.len() > MAX_DATA => {
                Err(Repr::AgentConfused {
                    what: "it sent more output at once than a frame of it has",
                }
                .into())
            }
            Ok(Some(Frame::Stdout(bytes))) => Ok(Event::Stdout(bytes)),
            Ok(Some(Frame::Stderr(bytes))) => Ok(Event::Stderr(bytes)),
            Ok(Some(Frame::Exit(status))) => {
                self.connection.hang_up();
                telemetry::command_ended();
                self.guest.has_answered();
                Ok(Event::End(status.into()))
            }
            Ok(Some(Frame::Failed(failure))) => Err(self.refused(failure)),
            Ok(Some(_)) => Err(Repr::AgentConfused {
                what: "a command was answered with a frame of another kind",
            }
            .into()),
            Ok(None) => Err(self.cut_off(
                Repr::AgentConfused {
                    what: "it closed a command's connection before the command's end",
                }
                .into(),
            )),
            Err(error) => Err(self
                .over_time(&error)
                .unwrap_or_else(|| self.cut_off(error.into()))),
        }
    }

    fn read(&mut self) -> Result<Option<Frame>, ProtocolError> {
        match &mut self.limited {
            None => read_frame(&mut self.connection),
            Some(limited) => read_frame(limited),
        }
    }

    /// That the command's time is over, if that is why a read failed.
    fn over_time(&self, error: &ProtocolError) -> Option<Error> {
        let limit = self.limited.as_ref()?.limit();
        let program = self.program.clone();
        let over = || Repr::CommandTimeout { program, limit }.into();
        let is_over = matches!(error, ProtocolError::Io { source } if source.kind() == io::ErrorKind::TimedOut);
        is_over.then(over)
    }

    fn refused(&self, failure: Failure) -> Error {
        let Failure { kind, message } = failure;
        Repr::Command {
            program: self.program.clone(),
            kind,
            message,
        }
        .into()
    }

    /// The connection ended before the command: because its input failed, because the guest is gone, or for no reason.
    fn cut_off(&self, error: Error) -> Error {
        if self.is_killed.load(Ordering::SeqCst) {
            // The reason is known, and asking the guest for another takes time.
            return error;
        }
        let input_error = self
            .input_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match input_error {
            Some(source) => Repr::CommandInput {
                program: self.program.clone(),
                source,
            }
            .into(),
            None => self.guest.explain(error),
        }
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> Error {
        let error = Repr::Connection { doing, source }.into();
        let limit = self.guest.patience();
        self.guest.explain(unless_silent(error, doing, limit))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.connection.hang_up();
    }
}
