//! Why a guest can't start.

use std::io;

use agent::protocol::ProtocolError;

use super::identity::AccountError;

/// What ends the agent, and the guest with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StartError {
    #[error("could not {action} {what}")]
    Step {
        action: &'static str,
        what: String,
        source: io::Error,
    },
    #[error("no disk has the serial {serial:?}; the serials here are {found:?}")]
    NoDisk { serial: String, found: Vec<String> },
    #[error("the control connection failed")]
    Protocol { source: ProtocolError },
    #[error("the host closed the control connection before it configured the guest")]
    NoConfiguration,
    #[error("the first frame from the host is not Configure")]
    UnexpectedFrame,
    #[error("could not set up the guest's users")]
    Accounts(#[from] AccountError),
    #[error("the file {path} can't be placed: the guest has a directory there")]
    Directory { path: String },
    #[error("nobody can own a file as {spec:?}: {reason}")]
    Owner { spec: String, reason: String },
}

impl StartError {
    /// For `map_err`: what was being done, and to what.
    pub(super) fn step<E: Into<io::Error>>(
        action: &'static str,
        what: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::Step {
            action,
            what,
            source: source.into(),
        }
    }
}

impl From<ProtocolError> for StartError {
    fn from(source: ProtocolError) -> Self {
        Self::Protocol { source }
    }
}
