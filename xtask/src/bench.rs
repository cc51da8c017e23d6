//! Measurements: the store beside other tools and at each size of chunks, starts from a registry, machines beside QEMU's.

use std::fs;
use std::path::PathBuf;

use crate::cache::CacheError;
use crate::cargo::{self, CargoError};
use crate::command::CommandError;
use crate::file_error::{FileError, file_error};
use crate::images::{ImageError, LayoutError};
use crate::kernel::KernelError;
use crate::packages::PackageError;

mod chunk_size;
mod compare;
mod image;
mod lazy;
mod measure;
mod peers;
mod plot;
mod session;
mod statistics;
mod steps;
mod table;
mod vm;

/// What to measure.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Bench {
    /// Runs the store and other tools on the same input, and writes a table and plots to target/bench/compare.
    Compare(compare::Args),
    /// Measures imports, commits and reads at each size of chunks, and writes a table to target/bench.
    ChunkSize(chunk_size::Args),
    /// Starts sessions from a registry by each way there is, and writes a table to target/bench.
    Lazy(lazy::Args),
    /// Uses a session as labs do, and writes a table to target/bench.
    Session(session::Args),
    /// Runs machines of ours and of QEMU's `microvm` with the same guest, and writes a table and a plot to target/bench.
    Vm(vm::Args),
    /// Prints the images that the others measure with, after making them if need be.
    Images,
}

/// A measurement that could not be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BenchError {
    #[error("making and unpacking images needs root; run `cargo xtask bench` as root")]
    NotRoot,
    #[error("the workspace has no program named {name}")]
    NoProgram { name: &'static str },
    #[error("{line} printed something else than the JSON that was expected: {printed}")]
    Report { line: String, printed: String },
    #[error("the image in {folder} has too few files that can be changed")]
    FewFiles { folder: PathBuf },
    #[error("{path} holds no kernel packed by lz4, as Debian's are")]
    Payload { path: PathBuf },
    #[error("what has to be so is not: {demands}")]
    Unmet { demands: String },
    #[error("the kernel has no module {name}")]
    NoModule { name: &'static str },
    #[error("could not read the times of other processes")]
    Usage(#[source] nix::Error),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Cargo(#[from] CargoError),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    Package(#[from] PackageError),
}

/// Measures.
pub(crate) fn main(bench: &Bench) -> Result<(), BenchError> {
    match bench {
        Bench::Compare(args) => compare::main(args),
        Bench::ChunkSize(args) => chunk_size::main(args),
        Bench::Lazy(args) => lazy::main(args),
        Bench::Session(args) => session::main(args),
        Bench::Vm(args) => vm::main(args),
        Bench::Images => image::print(),
    }
}

/// Where figures are kept that the project refers to.
fn results() -> PathBuf {
    cargo::workspace().join("benches/results")
}

/// Where the figures of the last run are.
fn target() -> PathBuf {
    cargo::workspace().join("target/bench")
}

/// Writes a table to the figures of the last run, and to those that the project refers to if it is to be saved.
fn keep(name: &str, text: &str, is_saved: bool) -> Result<(), BenchError> {
    let saved = is_saved.then(results);
    for folder in [target()].into_iter().chain(saved) {
        fs::create_dir_all(&folder).map_err(file_error("create", &folder))?;
        let path = folder.join(name);
        fs::write(&path, text).map_err(file_error("write", &path))?;
    }
    Ok(())
}
