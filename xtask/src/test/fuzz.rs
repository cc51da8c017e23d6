//! Short runs of the fuzz targets, to see that they build and that nothing falls over at once.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use super::TestError;
use crate::cargo::{self, Target};
use crate::command;
use crate::file_error::file_error;
use crate::tools;

/// Where the sources of targets are, below the folder of the package.
const SOURCES: &str = "fuzz_targets";

/// How much of a failed run's log is shown: so many lines from its cause on, as many from its end, each cut to
/// so many characters.
const SHOWN_LINES: usize = 30;
const SHOWN_COLUMNS: usize = 200;

/// Targets of which not all would be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FuzzError {
    #[error("{path} declares no fuzz targets")]
    NoTargets { path: PathBuf },
    #[error("the fuzz target {target} is declared, but there is no {path}")]
    NoSource { target: String, path: PathBuf },
    #[error("{path} is not declared as a fuzz target, so it would never run")]
    NotDeclared { path: PathBuf },
    #[error("the fuzz target {target} failed:\n{output}")]
    Failed { target: String, output: String },
}

/// Builds the targets and runs them, as many at a time as there are processors. For such short runs they are hardly
/// optimised, which takes a fraction of the time.
pub(super) fn run(seconds: u32) -> Result<(), TestError> {
    let folder = cargo::workspace().join("fuzz");
    let names = names(&folder)?;
    let program = tools::ensure(tools::FUZZ)?;
    // cargo-fuzz has no option for this: whatever it builds afterwards keeps to the lock file.
    let fetch = ["fetch", "--locked", "--target", "x86_64-unknown-linux-gnu"];
    command::run(cargo::cargo(fetch).current_dir(&folder))?;
    command::run(fuzz(&program, &folder, &["build", "--dev"]).args(["--fuzz-dir", "."]))?;
    // All take the same time, so the targets of a group end together.
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    for group in names.chunks(cores) {
        for (name, runs) in group.iter().zip(run_all(&program, &folder, group, seconds)) {
            println!("xtask: fuzz target {name}: {}", runs?);
        }
    }
    Ok(())
}

/// Runs targets at the same time.
fn run_all(
    program: &Path,
    folder: &Path,
    names: &[String],
    seconds: u32,
) -> Vec<Result<String, TestError>> {
    thread::scope(|scope| {
        let run = |name| scope.spawn(move || run_one(program, folder, name, seconds));
        let threads: Vec<_> = names.iter().map(String::as_str).map(run).collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        ended
            .map(|result| result.unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

/// The targets' names, once it is sure that none is left out.
fn names(folder: &Path) -> Result<Vec<String>, TestError> {
    let manifest = folder.join("Cargo.toml");
    let mut targets = cargo::targets(&manifest)?;
    targets.retain(|target| target.kind == "bin");
    check(&manifest, &targets, &sources(&folder.join(SOURCES))?)?;
    Ok(targets.into_iter().map(|target| target.name).collect())
}

/// The files in `folder` that look like a target's source.
fn sources(folder: &Path) -> Result<BTreeSet<PathBuf>, TestError> {
    let listing = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let paths = listing
        .map_err(file_error("list", folder))?
        .into_iter()
        .map(|it| it.path());
    let is_rust = |path: &PathBuf| path.extension() == Some(OsStr::new("rs"));
    Ok(paths.filter(is_rust).collect())
}

/// Demands that every target has a source, and every source a target.
fn check(
    manifest: &Path,
    targets: &[Target],
    sources: &BTreeSet<PathBuf>,
) -> Result<(), FuzzError> {
    if targets.is_empty() {
        let path = manifest.to_owned();
        return Err(FuzzError::NoTargets { path });
    }
    if let Some(target) = targets.iter().find(|it| !it.source.exists()) {
        return Err(FuzzError::NoSource {
            target: target.name.clone(),
            path: target.source.clone(),
        });
    }
    let declared: BTreeSet<_> = targets.iter().map(|it| it.source.clone()).collect();
    match sources.difference(&declared).next() {
        Some(path) => Err(FuzzError::NotDeclared { path: path.clone() }),
        None => Ok(()),
    }
}

/// Runs one target on its seeds and on what earlier runs found; returns libFuzzer's last line.
fn run_one(program: &Path, folder: &Path, name: &str, seconds: u32) -> Result<String, TestError> {
    let corpus = format!("corpus/{name}");
    let found = folder.join(&corpus);
    fs::create_dir_all(&found).map_err(file_error("create", &found))?;
    let seeds = format!("seeds/{name}");
    let run = ["run", "--dev", "--fuzz-dir", ".", name, &corpus];
    let mut command = fuzz(program, folder, &run);
    if folder.join(&seeds).is_dir() {
        command.arg(seeds);
    }
    command.arg("--").arg(format!("-max_total_time={seconds}"));
    command.args(["-rss_limit_mb=2048", "-timeout=10"]);
    let output = command::output(&mut command)?;
    if !output.status.success() {
        return Err(FuzzError::Failed {
            target: name.to_owned(),
            output: failure(&String::from_utf8_lossy(&output.stderr)),
        }
        .into());
    }
    Ok(last_line(&String::from_utf8_lossy(&output.stderr)))
}

fn fuzz(program: &Path, folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    // libFuzzer's sanitizers are flags of the nightly compiler, which the stable one has too.
    command.env("RUSTC_BOOTSTRAP", "1").current_dir(folder);
    command.arg("fuzz").args(args);
    command
}

/// `Done 123 runs in 15 second(s)`, which is followed by nothing of interest.
fn last_line(log: &str) -> String {
    let done = log.lines().rev().find(|line| line.starts_with("Done "));
    done.unwrap_or("ended").to_owned()
}

/// What went wrong in a run: its log from the panic or the sanitizer's report on. The log also shows the input
/// byte by byte, hence the cuts.
fn failure(log: &str) -> String {
    let is_cause = |line: &str| line.contains("panicked at") || line.contains("ERROR: ");
    let first = log.lines().position(is_cause).unwrap_or_default();
    let cut = |line: &str| line.chars().take(SHOWN_COLUMNS).collect::<String>();
    let lines: Vec<String> = log.lines().skip(first).map(cut).collect();
    let head = lines.len().min(SHOWN_LINES);
    let tail = lines.len().saturating_sub(SHOWN_LINES).max(head);
    [&lines[..head], &lines[tail..]].concat().join("\n")
}

#[cfg(test)]
mod tests;
