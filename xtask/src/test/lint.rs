//! Formatting and lints of everything: the workspace, its tests that boot kernels, and the fuzz targets.

use super::{TestError, show, vm};
use crate::cargo;

/// The fuzz targets are a workspace of their own, whose features the other one lacks.
const FUZZ: [&str; 2] = ["--manifest-path", "fuzz/Cargo.toml"];
/// What follows all other arguments of clippy.
const DENY: [&str; 3] = ["--", "-D", "warnings"];

/// Checks the formatting.
pub(super) fn fmt() -> Result<(), TestError> {
    show(cargo::cargo(["fmt", "--all", "--check"]))?;
    show(cargo::cargo(["fmt", FUZZ[0], FUZZ[1], "--check"]))
}

/// Checks the lints.
pub(super) fn clippy() -> Result<(), TestError> {
    lint(&["--workspace", "--all-targets"])?;
    // `--all-targets` passes over tests that `cargo test` is not to run by itself.
    let targets = cargo::targets(&cargo::workspace().join("Cargo.toml"))?;
    lint(&vm::selection(&vm::tests(&targets)))?;
    lint(&FUZZ)
}

fn lint(args: &[&str]) -> Result<(), TestError> {
    show(cargo::locked("clippy", args.iter().chain(&DENY)))
}
