//! Virtual machines of ours beside those of QEMU's `microvm`, with the same kernel, initrd and disk.
//!
//! `cargo xtask bench vm` calls it, in a machine whose clock counts instructions. `compare` prints one JSON object for
//! each figure; `run` is a small monitor on `vmm-core`, so that both are processes with a guest's serial port for output.

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod block;
mod boot;
mod commands;
mod compare;
mod exits;
mod memory;
mod net;
mod process;
mod qemu;
mod run;
mod spec;
mod start;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[derive(Debug, Parser)]
#[command(about)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Takes all measurements.
    Compare(compare::Args),
    /// Runs one machine until its guest ends.
    Run(run::Args),
    /// Starts and stops machines on this machine itself.
    Start(start::Args),
}

fn main() -> ExitCode {
    let done = match &Args::parse().verb {
        Verb::Compare(args) => compare::main(args),
        Verb::Run(args) => run::main(args),
        Verb::Start(args) => start::main(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vm-benches: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}
