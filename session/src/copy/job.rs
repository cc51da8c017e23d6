//! A connection on which files are copied.
//!
//! Invariant: dropping it ends the agent's part.

use std::io;
use std::sync::Arc;

use agent::archive::ArchiveError;
use agent::protocol::{Copied, Failure, Frame, StreamError, read_frame, write_frame};

use crate::command::{Connection, Guest, Patient, stall_of, unless_silent};
use crate::error::{Error, Repr};

/// What is done meanwhile, for messages.
const DOING: &str = "copying files";

#[derive(Debug)]
pub(super) struct Job {
    pub(super) guest: Arc<dyn Guest>,
    pub(super) connection: Box<dyn Connection>,
    /// What is copied where, for messages.
    pub(super) what: String,
}

impl Job {
    /// Tells the agent what is to be done.
    pub(super) fn start(guest: Arc<dyn Guest>, first: &Frame, what: String) -> Result<Self, Error> {
        let job = Self {
            connection: guest.connect()?,
            guest,
            what,
        };
        let mut patient = job.patient()?;
        match write_frame(&mut patient, first) {
            Ok(()) => Ok(job),
            Err(source) => Err(job.broken(source)),
        }
    }

    /// Another handle of the connection.
    pub(super) fn share(&self) -> Result<Box<dyn Connection>, Error> {
        let doing = "sharing it";
        let shared = self.connection.try_clone();
        Ok(shared.map_err(|source| Repr::Connection { doing, source })?)
    }

    /// Another handle, whose reads and writes fail when the guest stands still for too long.
    pub(super) fn patient(&self) -> Result<Patient, Error> {
        Ok(Patient::while_it_goes_on(&self.guest, self.share()?))
    }

    /// Waits for the agent's last word.
    pub(super) fn end(&self, connection: &mut Patient) -> Result<Copied, Error> {
        match read_frame(connection) {
            Ok(Some(Frame::Copied(copied))) => {
                self.guest.has_answered();
                Ok(copied)
            }
            Ok(Some(Frame::Failed(failure))) => Err(self.refused(failure)),
            Ok(Some(_)) => Err(Repr::AgentConfused {
                what: "a copy was answered with a frame of another kind",
            }
            .into()),
            Ok(None) => Err(self.guest.explain(
                Repr::AgentConfused {
                    what: "it closed a copy's connection before the copy's end",
                }
                .into(),
            )),
            Err(error) => Err(self.explain(error.into())),
        }
    }

    pub(super) fn refused(&self, failure: Failure) -> Error {
        Repr::CopyRefused {
            what: self.what.clone(),
            kind: failure.kind,
            message: failure.message,
        }
        .into()
    }

    pub(super) fn failed(&self, source: ArchiveError) -> Error {
        match source {
            ArchiveError::Stream { after, source } => match self.of_stream(source) {
                Ok(error) => error,
                Err(source) => Repr::Copy {
                    what: self.what.clone(),
                    source: ArchiveError::Stream { after, source },
                }
                .into(),
            },
            source => Repr::Copy {
                what: self.what.clone(),
                source,
            }
            .into(),
        }
    }

    /// What the agent or the connection had to say, or else the error itself.
    pub(super) fn of_stream(&self, error: io::Error) -> Result<Error, io::Error> {
        match error.downcast::<StreamError>() {
            Ok(StreamError::Failed(failure)) => Ok(self.refused(failure)),
            Ok(StreamError::Protocol(error)) => Ok(self.explain(error.into())),
            Ok(_) => Ok(Repr::AgentConfused {
                what: "it interrupted a tar stream with a frame of another kind",
            }
            .into()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn broken(&self, source: io::Error) -> Error {
        self.explain(
            Repr::Connection {
                doing: DOING,
                source,
            }
            .into(),
        )
    }

    fn explain(&self, error: Error) -> Error {
        let limit = stall_of(&*self.guest);
        self.guest.explain(unless_silent(error, DOING, limit))
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.connection.hang_up();
    }
}
