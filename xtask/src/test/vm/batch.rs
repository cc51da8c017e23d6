//! Tests of one binary that run in one machine.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::process::Command;

use crate::cargo::Target;
use crate::command::{self, CommandError};

/// Some of the tests of a binary.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    target: &'a Target,
    program: &'a Path,
    names: Vec<String>,
}

/// Deals out the tests of `program` to batches of `most` at the most. Tests that stand side by side are often alike and
/// slow alike, so neighbours come into different batches.
pub(super) fn deal<'a>(
    target: &'a Target,
    program: &'a Path,
    most: usize,
) -> Result<Vec<Batch<'a>>, CommandError> {
    let listed = command::run(Command::new(program).args(["--list", "--format", "terse"]))?;
    let listed = String::from_utf8_lossy(&listed);
    let names = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"));
    let names: Vec<_> = names.map(String::from).collect();
    let count = names.len().div_ceil(most);
    let batch = |first| Batch {
        target,
        program,
        names: names.iter().skip(first).step_by(count).cloned().collect(),
    };
    Ok((0..count).map(batch).collect())
}

impl Batch<'_> {
    /// The command line that runs just these tests.
    pub(super) fn command(&self) -> Vec<OsString> {
        let names = self.names.iter().map(OsString::from);
        [self.program.into(), "--exact".into()]
            .into_iter()
            .chain(names)
            .collect()
    }

    /// Where the tests run.
    pub(super) fn folder(&self) -> &Path {
        &self.target.folder
    }

    /// Drops the tests that have passed according to `printed`, the output of a run that failed. Where all have, what
    /// failed is none's in particular, and all stay.
    pub(super) fn forget_passed(&mut self, printed: &str) {
        let failed = |name: &&String| !printed.lines().any(|line| is_pass(line, name));
        let failed: Vec<_> = self.names.iter().filter(failed).cloned().collect();
        if !failed.is_empty() {
            self.names = failed;
        }
    }

    /// The names of the tests, with their package's before them.
    pub(super) fn names(&self) -> Vec<String> {
        let package = &self.target.package;
        let names = self.names.iter();
        names.map(|name| format!("{package} {name}")).collect()
    }
}

impl fmt::Display for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, package) = (self.names.len(), &self.target.package);
        write!(f, "{count} tests of {package} that boot kernels")
    }
}

/// Whether `line` says that the test `name` has passed.
fn is_pass(line: &str, name: &str) -> bool {
    line.strip_prefix("test ")
        .and_then(|line| line.strip_prefix(name))
        == Some(" ... ok")
}

#[cfg(test)]
mod tests;
