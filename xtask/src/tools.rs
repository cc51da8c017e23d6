//! Cargo's helpers that are not part of the toolchain: those on the PATH, or built once into the cache.

use std::path::PathBuf;
use std::process::Command;

use crate::cache::{self, CacheError};
use crate::cargo;
use crate::command::{self, CommandError};

/// A helper and the version that is built where none is installed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
}

/// Checks licences, sources and duplicates of dependencies.
pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
};
/// Builds and runs fuzz targets.
pub(crate) const FUZZ: Tool = Tool {
    name: "cargo-fuzz",
    version: "0.13.2",
};

/// A helper that could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ToolError {
    #[error("could not install {name}")]
    Install {
        name: &'static str,
        source: CommandError,
    },
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Returns the program of `tool`.
///
/// # Errors
/// [`ToolError`] if it is neither installed nor to be had from the registry.
pub(crate) fn ensure(tool: Tool) -> Result<PathBuf, ToolError> {
    let name = tool.name;
    if is_installed(name) {
        return Ok(PathBuf::from(name));
    }
    let entry = format!("{name}-{}", tool.version);
    let place = cache::ensure(&entry, |partial| {
        eprintln!("xtask: building {name} {}", tool.version);
        let mut install = cargo::cargo([
            "install",
            "--quiet",
            "--locked",
            "--version",
            tool.version,
            name,
        ]);
        // A folder of its own for what is built on the way, so that the workspace's stays as it is.
        install
            .arg("--root")
            .arg(partial)
            .env_remove("CARGO_TARGET_DIR");
        let done = command::run(&mut install).map(drop);
        done.map_err(|source| ToolError::Install { name, source })
    })?;
    Ok(place.join("bin").join(name))
}

/// Whether `name` is a program on the PATH.
pub(crate) fn is_installed(name: &str) -> bool {
    command::output(Command::new(name).arg("--version")).is_ok_and(|output| output.status.success())
}
