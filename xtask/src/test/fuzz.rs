//! Short runs of the fuzz targets, to see that they build and that nothing falls over at once.

use std::path::Path;
use std::process::Command;

use super::TestError;
use crate::cargo::{self, Target};
use crate::command;
use crate::tools;

/// Builds and runs each target that has been written.
pub(super) fn run(seconds: u32) -> Result<(), TestError> {
    let folder = cargo::workspace().join("fuzz");
    let targets = cargo::targets(&folder.join("Cargo.toml"))?;
    let program = tools::ensure(tools::FUZZ)?;
    for target in targets.iter().filter(|target| is_written(target)) {
        let name = &target.name;
        command::run(fuzz(&program, &folder, &["build", name]).args(["--fuzz-dir", "."]))?;
        let runs = run_one(&program, &folder, name, seconds)?;
        println!("xtask: fuzz target {name}: {runs}");
    }
    Ok(())
}

/// A target may be declared before its source is there.
fn is_written(target: &Target) -> bool {
    target.kind == "bin" && target.source.exists()
}

/// Runs one target on its seeds and on what earlier runs found; returns libFuzzer's last line.
fn run_one(program: &Path, folder: &Path, name: &str, seconds: u32) -> Result<String, TestError> {
    let corpus = format!("corpus/{name}");
    std::fs::create_dir_all(folder.join(&corpus)).map_err(|source| TestError::Io {
        action: "create",
        path: folder.join(&corpus),
        source,
    })?;
    let seeds = format!("seeds/{name}");
    let mut command = fuzz(program, folder, &["run", "--fuzz-dir", ".", name, &corpus]);
    if folder.join(&seeds).is_dir() {
        command.arg(seeds);
    }
    command.arg("--").arg(format!("-max_total_time={seconds}"));
    command.args(["-rss_limit_mb=2048", "-timeout=10"]);
    let output = command::output(&mut command)?;
    if !output.status.success() {
        return Err(TestError::Fuzz {
            target: name.to_owned(),
            output: command::tail(&output.stderr),
        });
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

#[cfg(test)]
mod tests;
