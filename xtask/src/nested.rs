//! The nested bed: a command in a machine whose `/dev/kvm` runs stock kernels, on any x86-64 host.
//!
//! QEMU emulates a CPU with AMD SVM, Debian's kernel boots on it with `kvm_amd`, and the host's root file system is
//! its root, read-only under an overlay in memory. So every program and file of the host is there at its own path, and
//! what the command writes vanishes, except below the folders that were named as writable. `TMPDIR` is a disk of the
//! machine's own with a real ext4.
//!
//! Invariant: whichever way this process ends, its QEMU and virtiofsd end with it.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use nix::unistd::{AccessFlags, access};

use crate::complain;
use crate::kernel::{self, KernelError};
use crate::packages::{self, PackageError};
use crate::root;

mod cpio;
mod events;
mod guest;
mod machine;
mod share;

/// The status for a command that took too long, as coreutils' `timeout` has it.
const STATUS_TIMEOUT: u8 = 124;
/// The status for everything else that kept the command from ending by itself.
const STATUS_FAILED: u8 = 125;

/// What to run, and the machine it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folders of the host that the command may write to.
    #[arg(long, value_name = "DIR")]
    rw: Vec<PathBuf>,
    /// The machine's memory.
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    memory_mib: u32,
    /// The machine's CPUs.
    #[arg(long, value_name = "N", default_value_t = 2)]
    cpus: u32,
    /// How long the command may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout_s: u64,
    /// One CPU whose clock counts instructions, so that times inside repeat to about 1 %. For comparisons, not speed.
    #[arg(long)]
    icount: bool,
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
    #[error("the machine died before the command ended; its last words:\n{console}")]
    Died { console: String },
    #[error("the machine could not {step}; its last words:\n{console}")]
    Setup { step: String, console: String },
    #[error("stopped by {signal}")]
    Stopped { signal: nix::sys::signal::Signal },
    #[error("file sharing needs root; run as root or allow sudo without a password")]
    NotRoot,
    #[error("could not {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    Package(#[from] PackageError),
    #[error(transparent)]
    Command(#[from] crate::command::CommandError),
}

/// Runs the command and passes its exit status on.
pub(crate) fn main(args: &Args) -> ExitCode {
    let result = if runs_stock_kernels() {
        Err(run_here(args))
    } else if !root::is_root() {
        run_in_machine_as_root()
    } else {
        run_in_machine(args)
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            complain(&error);
            ExitCode::from(match error {
                NestedError::Timeout { .. } => STATUS_TIMEOUT,
                _ => STATUS_FAILED,
            })
        }
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

/// Replaces this process by the command; returns only if that fails.
fn run_here(args: &Args) -> NestedError {
    let mut command = Command::new("timeout");
    command.arg("--foreground").arg(args.timeout_s.to_string());
    io_error("run", Path::new("timeout"))(command.args(&args.command).exec())
}

/// Replaces this process by itself as root; returns only if that fails.
fn run_in_machine_as_root() -> Result<u8, NestedError> {
    let mut command = root::this_program().ok_or(NestedError::NotRoot)?;
    // What root finds in the cache it does not make: the cache stays the caller's.
    kernel::ensure_kernel()?;
    command.args(std::env::args_os().skip(1));
    Err(io_error("run", Path::new("sudo"))(command.exec()))
}

fn run_in_machine(args: &Args) -> Result<u8, NestedError> {
    packages::ensure(&["qemu-system-x86", "busybox-static", "e2fsprogs"])?;
    let server = share::Server::ensure()?;
    let kernel = kernel::ensure_kernel()?;
    machine::run(args, &kernel, &server)
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NestedError {
    let path = path.to_owned();
    move |source| NestedError::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests;
