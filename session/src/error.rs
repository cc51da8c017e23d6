//! The one error of this crate.

mod kinds;
mod repr;

use std::fmt;
use std::io;

use agent::protocol::{FailureKind, ProtocolError};

pub(crate) use repr::Repr;

/// What went wrong, in the terms of whoever has to do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A session, image or snapshot of that name is not there.
    NotFound,
    /// A setting or a name is not acceptable; the message says why.
    InvalidInput,
    /// The session runs, maybe in another process, or its id is taken.
    Busy,
    /// The container image is missing, damaged or breaks the rules.
    Image,
    /// The registry can't be reached, refuses, or does not give what it should.
    Registry,
    /// The kernel or its modules are missing or not usable.
    Kernel,
    /// The host has no KVM, or does not let this process use it.
    Kvm,
    /// The host is short of memory, threads or descriptors.
    Host,
    /// The guest crashed, stopped by itself or broke the agent's protocol.
    Guest,
    /// The guest did not answer before its deadline.
    Timeout,
    /// The guest could not run the command, or it does not fit the call that was made of it.
    Command,
    /// There are too many sessions, or they take too much.
    Quota,
    /// A file could not be copied into the guest or out of it; the message names it.
    Copy,
    /// Nothing takes a connection at the address, in the guest or on the host, or nothing can listen there.
    Refused,
    /// The store could not be read or written: no space, no permission, or damaged data.
    Storage,
    /// A defect of this library.
    Internal,
}

impl ErrorKind {
    /// The kind in lower-case words with `_` between them, for labels and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::InvalidInput => "invalid_input",
            Self::Busy => "busy",
            Self::Image => "image",
            Self::Registry => "registry",
            Self::Kernel => "kernel",
            Self::Kvm => "kvm",
            Self::Host => "host",
            Self::Guest => "guest",
            Self::Timeout => "timeout",
            Self::Command => "command",
            Self::Copy => "copy",
            Self::Refused => "refused",
            Self::Quota => "quota",
            Self::Storage => "storage",
            Self::Internal => "internal",
        }
    }
}

/// Why a call failed. [`Error::kind`] says what to do about it; the message names what is at fault.
pub struct Error(Box<Repr>);

impl Error {
    /// The class of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind()
    }

    /// Whether the guest missed a deadline.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.kind() == ErrorKind::Timeout
    }

    /// Whether the caller's own input is at fault.
    #[must_use]
    pub fn is_invalid_input(&self) -> bool {
        self.kind() == ErrorKind::InvalidInput
    }

    /// Whether the guest has no such program: a shell's status 127.
    #[must_use]
    pub fn is_no_such_program(&self) -> bool {
        matches!(
            &*self.0,
            Repr::Command {
                kind: FailureKind::NotFound,
                ..
            }
        )
    }

    /// Whether what was named does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
    }
}

impl Error {
    pub(crate) fn repr(&self) -> &Repr {
        &self.0
    }

    /// What the operating system said of a connection that failed.
    pub(crate) fn io_kind(&self) -> Option<io::ErrorKind> {
        match &*self.0 {
            Repr::Connection { source, .. } | Repr::Protocol(ProtocolError::Io { source }) => {
                Some(source.kind())
            }
            _ => None,
        }
    }
}

/// An error and its causes on one line.
pub(crate) fn one_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(&format!(": {error}"));
        cause = error.source();
    }
    line
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&*self.0)
    }
}

impl<E: Into<Repr>> From<E> for Error {
    fn from(error: E) -> Error {
        Error(Box::new(error.into()))
    }
}
