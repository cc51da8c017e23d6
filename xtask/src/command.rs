//! Running other programs to their end, with errors that show the command line and what it printed.

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

/// How much of a failed command's output goes into the error.
const SHOWN_BYTES: usize = 4000;

/// A program that could not be started, or that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CommandError {
    #[error("could not start `{line}`; is the program installed?")]
    Start { line: String, source: io::Error },
    #[error("could not wait for `{line}`")]
    Watch { line: String, source: io::Error },
    #[error("`{line}` ended with {status}:\n{output}")]
    Failed {
        line: String,
        status: ExitStatus,
        output: String,
    },
    /// As `Failed`, for a program whose output the user has seen.
    #[error("`{line}` ended with {status}")]
    Status { line: String, status: ExitStatus },
}

/// Runs `command` without stdin and returns its standard output.
///
/// # Errors
/// [`CommandError::Start`] if there is no such program, [`CommandError::Failed`] for any status but 0.
pub(crate) fn run(command: &mut Command) -> Result<Vec<u8>, CommandError> {
    let output = output(command)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let mut text = output.stdout;
    text.extend_from_slice(&output.stderr);
    Err(CommandError::Failed {
        line: line(command),
        status: output.status,
        output: tail(&text),
    })
}

/// Runs `command` without stdin, with its output on the terminal.
///
/// # Errors
/// [`CommandError::Start`] if there is no such program, [`CommandError::Status`] for any status but 0.
pub(crate) fn show(command: &mut Command) -> Result<(), CommandError> {
    run_piping_stdout(command.stdout(Stdio::inherit()).stderr(Stdio::inherit())).map(drop)
}

/// Runs `command` without stdin and returns what it writes to stdout, unless that goes elsewhere already.
///
/// # Errors
/// As [`show`].
pub(crate) fn run_piping_stdout(command: &mut Command) -> Result<Vec<u8>, CommandError> {
    let output = output(command)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(CommandError::Status {
        line: line(command),
        status: output.status,
    })
}

/// Runs `command` without stdin, whatever its status.
///
/// # Errors
/// [`CommandError::Start`] if there is no such program.
pub(crate) fn output(command: &mut Command) -> Result<Output, CommandError> {
    command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| CommandError::Start {
            line: line(command),
            source,
        })
}

/// Runs `command` without stdin; returns its status, and what it printed to stdout and stderr in the order it did.
///
/// # Errors
/// [`CommandError::Start`] if it can't be started.
pub(crate) fn merged_output(command: &mut Command) -> Result<(ExitStatus, String), CommandError> {
    let spawn = |command: &mut Command| -> io::Result<(io::PipeReader, Child)> {
        let (output, stdout) = io::pipe()?;
        let stderr = stdout.try_clone()?;
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        Ok((output, command.spawn()?))
    };
    let (mut output, mut child) = spawn(command).map_err(|source| CommandError::Start {
        line: line(command),
        source,
    })?;
    // Ours would keep the pipe open.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut printed = Vec::new();
    let read = output.read_to_end(&mut printed);
    let status = child.wait();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    match read.and(status) {
        Ok(status) => Ok((status, printed)),
        Err(source) => Err(CommandError::Watch {
            line: line(command),
            source,
        }),
    }
}

/// The command line as a person would type it, without quotes.
pub(crate) fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The last lines of `bytes`, cut to what an error message can bear.
pub(crate) fn tail(bytes: &[u8]) -> String {
    let start = bytes.len().saturating_sub(SHOWN_BYTES);
    let text = String::from_utf8_lossy(&bytes[start..]);
    text.trim_end().to_owned()
}
