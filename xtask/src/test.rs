//! Everything that CI checks, in one command that needs nothing but a Debian machine.

use std::process::Command;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::cargo::{self, CargoError};
use crate::command::{self, CommandError};
use crate::file_error::FileError;
use crate::images::ImageError;
use crate::kernel::KernelError;
use crate::packages::{self, PackageError};
use crate::tools::{self, ToolError};

mod fuzz;
mod lint;
mod vm;

/// What the tests themselves call. The fuzzers' runtime is built by g++.
const PACKAGES: [&str; 14] = [
    "e2fsprogs",
    "umoci",
    "skopeo",
    "docker-registry",
    "busybox-static",
    "gcc",
    "g++",
    "libc6-dev",
    "mount",
    "util-linux",
    "iproute2",
    "passt",
    "xz-utils",
    "openssh-client",
];

/// Which checks to run, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Runs only these steps.
    #[arg(long, value_name = "STEP")]
    only: Vec<Step>,
    /// How long each fuzz target runs.
    #[arg(long, value_name = "SECONDS", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    fuzz_s: u32,
}

/// The checks, in the order that they run: the quick ones that fail most often first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Formatting.
    Fmt,
    /// Lints.
    Clippy,
    /// Licences, sources and bans of dependencies.
    Deny,
    /// Documentation without warnings.
    Doc,
    /// Unit, integration and documentation tests on this machine.
    Unit,
    /// Tests that boot stock kernels, in the nested bed where that is needed.
    Nested,
    /// A short run of each fuzz target.
    Fuzz,
}

/// A check that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TestError {
    #[error("{} failed after {:.1} s", .step, .time.as_secs_f64())]
    Step {
        step: String,
        time: Duration,
        source: Box<TestError>,
    },
    #[error("cargo built no test binary `nested` of {package}")]
    NotBuilt { package: String },
    #[error("tests that boot kernels failed, see above: {tests}")]
    Nested { tests: String },
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Cargo(#[from] CargoError),
    #[error(transparent)]
    Fuzz(#[from] fuzz::FuzzError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    Package(#[from] PackageError),
    #[error(transparent)]
    Tool(#[from] ToolError),
}

/// Runs the steps up to the first that fails.
pub(crate) fn main(args: &Args) -> Result<(), TestError> {
    packages::ensure(&PACKAGES)?;
    let begun = Instant::now();
    let steps: Vec<_> = Step::value_variants()
        .iter()
        .filter(|step| args.only.is_empty() || args.only.contains(step))
        .collect();
    for step in &steps {
        let begun = Instant::now();
        println!("xtask: {} …", step.name());
        let done = step.run(args);
        let time = begun.elapsed();
        done.map_err(|source| TestError::Step {
            step: step.name(),
            time,
            source: Box::new(source),
        })?;
        println!(
            "xtask: {} passed in {:.1} s",
            step.name(),
            time.as_secs_f64()
        );
    }
    println!(
        "xtask: {} steps passed in {:.1} s",
        steps.len(),
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

impl Step {
    fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    fn run(self, args: &Args) -> Result<(), TestError> {
        match self {
            Self::Fmt => lint::fmt(),
            Self::Clippy => lint::clippy(),
            Self::Deny => deny(),
            Self::Doc => doc(),
            Self::Unit => unit(),
            Self::Nested => vm::run(),
            Self::Fuzz => fuzz::run(args.fuzz_s),
        }
    }
}

fn show(mut command: Command) -> Result<(), TestError> {
    Ok(command::show(&mut command)?)
}

fn doc() -> Result<(), TestError> {
    let mut doc = cargo::locked("doc", ["--workspace", "--no-deps"]);
    Ok(command::show(doc.env("RUSTDOCFLAGS", "-D warnings"))?)
}

fn unit() -> Result<(), TestError> {
    if tools::is_installed("cargo-nextest") {
        show(cargo::cargo([
            "nextest",
            "run",
            "--locked",
            "--workspace",
            "--no-fail-fast",
        ]))?;
    } else {
        let args = [
            "--workspace",
            "--lib",
            "--bins",
            "--tests",
            "--no-fail-fast",
        ];
        show(cargo::locked("test", args))?;
    }
    show(cargo::locked("test", ["--workspace", "--doc"]))
}

/// Checks what can be checked without the network: the database of advisories is a git repository elsewhere.
fn deny() -> Result<(), TestError> {
    let program = tools::ensure(tools::DENY)?;
    let mut check = Command::new(program);
    check.args([
        "--locked",
        "--log-level",
        "error",
        "check",
        "bans",
        "licenses",
        "sources",
    ]);
    Ok(command::show(check.current_dir(cargo::workspace()))?)
}

#[cfg(test)]
mod tests;
