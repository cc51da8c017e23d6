//! A command's environment, and finding its program in it.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use agent::protocol::{Failure, FailureKind};

use crate::guest::DEFAULT_PATH;

/// Variables by name.
pub(super) type Environment = BTreeMap<String, String>;

/// The variables of `base`, then those of `more`, and what programs can't do without.
pub(super) fn build(
    base: &[String],
    more: &[String],
    home: &str,
    has_terminal: bool,
) -> Result<Environment, Failure> {
    let mut all = Environment::new();
    for variable in base.iter().chain(more) {
        match variable.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                all.insert(name.to_owned(), value.to_owned())
            }
            _ => {
                let message =
                    format!("the environment variable {variable:?} is not of the form NAME=value");
                return Err(Failure {
                    kind: FailureKind::Invalid,
                    message,
                });
            }
        };
    }
    let terminal = if has_terminal { "xterm" } else { "dumb" };
    for (name, value) in [("PATH", DEFAULT_PATH), ("HOME", home), ("TERM", terminal)] {
        all.entry(name.to_owned())
            .or_insert_with(|| value.to_owned());
    }
    Ok(all)
}

/// Finds a program as a shell does: a name with a slash is a path from `cwd`, others are looked up in `PATH`.
pub(super) fn find_program(program: &str, cwd: &Path, path: &str) -> Result<PathBuf, Failure> {
    let candidates: Vec<PathBuf> = if program.contains('/') {
        vec![cwd.join(program)]
    } else {
        path.split(':')
            .map(|directory| cwd.join(directory).join(program))
            .collect()
    };
    // An empty name would find the directories themselves.
    let files = || {
        candidates
            .iter()
            .filter(|path| !program.is_empty() && path.is_file())
    };
    if let Some(found) = files().find(|path| is_executable(path)) {
        return Ok(found.clone());
    }
    let (kind, message) = match (files().next(), program.contains('/')) {
        (Some(file), _) => (
            FailureKind::NotExecutable,
            format!("{} is not executable", file.display()),
        ),
        (None, true) => (
            FailureKind::NotFound,
            format!("there is no program {program:?} in the guest"),
        ),
        (None, false) => (
            FailureKind::NotFound,
            format!("there is no program {program:?} in the guest's PATH {path}"),
        ),
    };
    Err(Failure { kind, message })
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|data| data.permissions().mode() & 0o111 != 0)
}
