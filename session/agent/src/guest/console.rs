//! Lines on the guest's console.

use std::error::Error;
use std::io::Write;

/// Writes `agent: LINE`. A console that fails is no reason to stop.
pub(super) fn say(line: &str) {
    let line = format!("agent: {line}\n");
    drop(std::io::stderr().write_all(line.as_bytes()));
}

/// An error and its causes on one line.
pub(super) fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}
