//! What the life of a session takes: commands, copies, a live snapshot, and what a shutdown writes.
//!
//! Prints one JSON object a measurement.

use std::path::PathBuf;
use std::process::ExitCode;

use benches::{GuestArgs, complain};
use clap::Parser;

mod copy_whole;
mod guest;
mod process;

/// Measures sessions; `cargo xtask bench session` calls it.
#[derive(Debug, Parser)]
enum Verb {
    /// Starts a guest and uses it, which needs a KVM for stock kernels.
    Guest(GuestArgs),
    /// Commits what was changed of a disk, and copies the whole disk: what a shutdown does, and what it need not.
    Disk {
        /// A folder on the file system to measure on.
        folder: PathBuf,
    },
}

fn main() -> ExitCode {
    let done = match Verb::parse() {
        Verb::Guest(args) => guest::run(&args),
        Verb::Disk { folder } => copy_whole::run(&folder),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain("session_life", &*error);
            ExitCode::FAILURE
        }
    }
}
