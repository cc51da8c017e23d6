//! The command line of the project, built for tests and the demo.

use std::path::PathBuf;

use crate::cargo::{self, CargoError, Target};

/// The name of the program, whichever package has it.
const NAME: &str = "playground";

/// Builds the program, if `targets` have it, and returns where it is.
///
/// # Errors
/// [`CargoError`] if it does not build.
pub(crate) fn build(targets: &[Target]) -> Result<Option<PathBuf>, CargoError> {
    let is_program = |target: &&Target| {
        target.name == NAME && (target.kind == "bin" || target.kind == "example")
    };
    let Some(target) = targets.iter().find(is_program) else {
        return Ok(None);
    };
    let kind = format!("--{}", target.kind);
    let built = cargo::build("build", &["--package", &target.package, &kind, NAME])?;
    Ok(built
        .into_iter()
        .find(|built| built.source == target.source)
        .map(|built| built.executable))
}
