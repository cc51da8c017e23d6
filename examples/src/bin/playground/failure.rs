//! Why a command of `playground` failed.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;

use session::TaskState;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Session(#[from] session::Error),
    #[error("there is no home folder to keep the store in: name one with --store")]
    NoHome,
    #[error("could not write to standard output")]
    Output(#[from] io::Error),
    #[error("could not {doing}")]
    Io {
        doing: &'static str,
        source: io::Error,
    },
    #[error("could not read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("could not listen for Ctrl-C")]
    Signals(#[from] ctrlc::Error),
    /// The session was ended after its command failed; `kept` says where its disk is.
    #[error("{} ({kept})", one_line(error))]
    Command { error: Box<Failure>, kept: String },
    #[error("{} (before that: {})", one_line(error), one_line(command))]
    Both {
        error: session::Error,
        command: Box<Failure>,
    },
    #[error("task {name}: {state} (--task {name}=true makes it one that does nothing)")]
    Task { name: String, state: TaskState },
    #[error("the guest is gone ({reason})")]
    Gone { reason: String },
}

impl Failure {
    /// For `map_err`: what was being done.
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}

/// An error and its causes, in a line.
pub(crate) fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(&format!(": {error}"));
        cause = error.source();
    }
    let plain = |character: char| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    };
    line.chars().map(plain).collect()
}

/// Tells the user, on standard error. That nobody reads it is no failure.
pub(crate) fn say(line: &str) {
    drop(writeln!(io::stderr(), "playground: {line}"));
}
