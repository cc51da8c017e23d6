//! The nested bed: a command in a machine whose `/dev/kvm` runs stock kernels, on any x86-64 host.
//!
//! QEMU emulates a CPU with AMD SVM, Debian's kernel boots on it with `kvm_amd`, and the host's root file system is
//! its root, read-only under an overlay in memory. So every program and file of the host is there at its own path, and
//! what the command writes vanishes, except below the folders that were named as writable. `TMPDIR` is a disk of the
//! machine's own with a real ext4.
//!
//! Invariant: whichever way this process ends, its QEMU and virtiofsd end with it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use nix::unistd::{AccessFlags, access};

use crate::complain;
use crate::file_error::{FileError, file_error};
use crate::kernel::{self, KernelError};
use crate::packages::{self, PackageError};
use crate::root;

mod cpio;
mod direct;
mod events;
mod guest;
mod machine;
mod share;
mod tsc;

pub(crate) use cpio::Archive;

/// The status for a command that took too long, as coreutils' `timeout` has it.
const STATUS_TIMEOUT: u8 = 124;
/// The status for everything else that kept the command from ending by itself.
const STATUS_FAILED: u8 = 125;

/// The memory of a machine for which none is given.
const MEMORY_MIB: u32 = 4096;
/// The CPUs of a machine for which none are given. One host CPU emulates one, so two machines get more done than one
/// with two.
const CPUS: u32 = 1;

/// What to run, and the machine it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folders of the host that the command may write to. On this machine itself it may write anywhere.
    #[arg(long, value_name = "DIR")]
    rw: Vec<PathBuf>,
    /// The memory of an emulated machine; 4096 if not given.
    #[arg(long, value_name = "MIB")]
    memory_mib: Option<u32>,
    /// The CPUs of an emulated machine; 1 if not given.
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,
    /// How long the command may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout_s: u64,
    /// One CPU whose clock counts instructions, so that times inside repeat to about 1 %. For comparisons, not speed.
    ///
    /// The machine is then emulated even where this one would do.
    #[arg(long)]
    icount: bool,
    /// Runs the command as root even on this machine itself. In an emulated one it is root anyway.
    #[arg(long)]
    root: bool,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// A command that could not be run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum NestedError {
    #[error("the command did not end within {} s; the console shows:\n{console}", limit.as_secs())]
    Timeout { limit: Duration, console: String },
    #[error("the command did not end within {} s", limit.as_secs())]
    TimeoutHere { limit: Duration },
    #[error("there is no command to run")]
    NoCommand,
    #[error("the machine died before the command ended; its last words:\n{console}")]
    Died { console: String },
    #[error("the machine could not {step}; its last words:\n{console}")]
    Setup { step: String, console: String },
    #[error("stopped by {signal}")]
    Stopped { signal: nix::sys::signal::Signal },
    #[error("{what} needs root; run as root or allow sudo without a password")]
    NotRoot { what: &'static str },
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    Package(#[from] PackageError),
    #[error(transparent)]
    Command(#[from] crate::command::CommandError),
}

/// Runs the command and passes its exit status on.
pub(crate) fn main(args: &Args) -> ExitCode {
    match run(args) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            complain(&error);
            ExitCode::from(match error {
                NestedError::Timeout { .. } | NestedError::TimeoutHere { .. } => STATUS_TIMEOUT,
                _ => STATUS_FAILED,
            })
        }
    }
}

fn run(args: &Args) -> Result<u8, NestedError> {
    let is_here = runs_stock_kernels() && !args.icount;
    match (is_here, root::is_root()) {
        (true, false) if args.root => Err(replace_by(this_as_root("the command")?)),
        (true, _) => direct::run(args),
        (false, false) => run_in_machine_as_root(),
        (false, true) => run_in_machine(args),
    }
}

/// Whether this machine's own KVM can run kernels that know nothing of it.
pub(crate) fn runs_stock_kernels() -> bool {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let usable = access("/dev/kvm", AccessFlags::R_OK | AccessFlags::W_OK).is_ok();
    usable && has_hardware_virtualisation(&cpu)
}

/// This program's `nested`, without arguments yet, as a process that ends when the calling thread does.
pub(crate) fn command() -> Command {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("xtask"));
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command.arg("nested");
    command
}

fn has_hardware_virtualisation(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter(|line| line.starts_with("flags"))
        .flat_map(str::split_whitespace)
        .any(|flag| flag == "vmx" || flag == "svm")
}

fn run_in_machine_as_root() -> Result<u8, NestedError> {
    let command = this_as_root("sharing files with an emulated machine")?;
    // What root finds in the cache it does not make: the cache stays the caller's.
    kernel::ensure_kernel()?;
    Err(replace_by(command))
}

fn this_as_root(what: &'static str) -> Result<Command, NestedError> {
    let mut command = root::this_program().ok_or(NestedError::NotRoot { what })?;
    command.args(std::env::args_os().skip(1));
    Ok(command)
}

/// Replaces this process by `command`; returns only if that fails.
fn replace_by(mut command: Command) -> NestedError {
    let source = command.exec();
    file_error("run", Path::new(command.get_program()))(source).into()
}

fn run_in_machine(args: &Args) -> Result<u8, NestedError> {
    packages::ensure(&["qemu-system-x86", "busybox-static", "e2fsprogs"])?;
    let server = share::Server::ensure()?;
    let kernel = kernel::ensure_kernel()?;
    machine::run(args, &kernel, &server)
}

#[cfg(test)]
mod tests;
