//! `cargo xtask`: build and test chores.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

mod apt;
mod bench;
mod cache;
mod cargo;
mod command;
mod demo;
mod file_error;
mod images;
mod kernel;
mod mounts;
mod nested;
mod packages;
mod path;
mod playground;
mod root;
mod test;
mod tools;

/// Build and test chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Chore {
    /// Runs a command where /dev/kvm runs stock kernels: here, or in an emulated machine over this file system.
    ///
    /// The exit status is the command's; 124 if it took too long, 125 if the machine failed.
    Nested(nested::Args),
    /// Prints a kernel that tests boot and the folder of its modules, after downloading them if need be.
    Kernel(kernel::Args),
    /// Prints the images that tests import, after making them if need be.
    Images(images::Args),
    /// Runs everything that CI checks, up to the first failure.
    Test(test::Args),
    /// Measures the store beside other tools and at each size of chunks, and starts from a registry.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Shows an image, a session that shuts down, and the session again, with a real kernel.
    Demo(demo::Args),
    /// The part of the demonstration that needs a KVM for stock kernels.
    #[command(hide = true)]
    DemoSessions(demo::SessionsArgs),
}

fn main() -> ExitCode {
    if let Err(error) = path::complete() {
        eprintln!("xtask: the administrator's programs may not be found: {error}");
    }
    match Chore::parse() {
        Chore::Nested(args) => nested::main(&args),
        Chore::Kernel(args) => report(kernel::main(&args)),
        Chore::Images(args) => report(images::main(&args)),
        Chore::Test(args) => report(test::main(&args)),
        Chore::Bench(bench) => report(bench::main(&bench)),
        Chore::Demo(args) => report(demo::main(&args)),
        Chore::DemoSessions(args) => report(demo::inside(&args)),
    }
}

/// Turns a chore's end into an exit status, after printing the error and its causes.
fn report<E: Error>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Prints `error` and what caused it.
fn complain(error: &dyn Error) {
    eprintln!("xtask: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
}
