//! Calls of cargo, and what its JSON says.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::command::{self, CommandError};

/// An answer of cargo that could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CargoError {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("cargo printed something else than JSON")]
    Json(#[from] serde_json::Error),
}

/// Something that cargo can build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) package: String,
    pub(crate) name: String,
    /// `bin`, `test`, `example`, ….
    pub(crate) kind: String,
    pub(crate) source: PathBuf,
    /// The folder of the package, where its tests run.
    pub(crate) folder: PathBuf,
}

/// A program that cargo has built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Built {
    pub(crate) source: PathBuf,
    pub(crate) executable: PathBuf,
}

/// The folder of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// cargo in the workspace's folder.
pub(crate) fn cargo<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(workspace());
    command
}

/// cargo's `verb` in the workspace's folder, which fails rather than change the lock file.
pub(crate) fn locked<S: AsRef<OsStr>>(verb: &str, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = cargo([verb, "--locked"]);
    command.args(args);
    command
}

/// Lists the targets of the packages that `manifest` has.
pub(crate) fn targets(manifest: &Path) -> Result<Vec<Target>, CargoError> {
    let mut metadata = cargo([
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
        "--manifest-path",
    ]);
    let answer = command::run(metadata.arg(manifest))?;
    Ok(targets_in(&serde_json::from_slice(&answer)?))
}

/// Runs a `verb` of cargo that builds, with its diagnostics on the terminal, and returns the programs it made.
pub(crate) fn build(verb: &str, args: &[&str]) -> Result<Vec<Built>, CargoError> {
    let mut command = locked(verb, args);
    command.arg("--message-format=json-render-diagnostics");
    let answer = command::run_piping_stdout(command.stderr(Stdio::inherit()))?;
    let text = String::from_utf8_lossy(&answer);
    text.lines()
        .map(|line| Ok(built(&serde_json::from_str(line)?)))
        .filter_map(Result::transpose)
        .collect()
}

fn targets_in(metadata: &Value) -> Vec<Target> {
    let mut found = Vec::new();
    for package in each(&metadata["packages"]) {
        let folder = path(&package["manifest_path"]);
        let folder = folder.parent().unwrap_or(&folder);
        for target in each(&package["targets"]) {
            found.push(Target {
                package: text(&package["name"]),
                name: text(&target["name"]),
                kind: text(&target["kind"][0]),
                source: path(&target["src_path"]),
                folder: folder.to_owned(),
            });
        }
    }
    found
}

fn built(message: &Value) -> Option<Built> {
    let executable = PathBuf::from(message["executable"].as_str()?);
    Some(Built {
        source: path(&message["target"]["src_path"]),
        executable,
    })
}

fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn path(value: &Value) -> PathBuf {
    PathBuf::from(text(value))
}

#[cfg(test)]
mod tests;
