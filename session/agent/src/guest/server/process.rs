//! Starting a command's process.
//!
//! Invariant: the process leads a session and a process group of its own, so that signals reach all of it and
//! nothing else.
#![expect(
    unsafe_code,
    reason = "pre_exec, and pidfd_open, which no library here wraps"
)]

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};

use agent::protocol::{Config, Exec, ExitStatus, Failure, FailureKind};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::SigSet;
use nix::unistd::{Gid, Uid, getegid, geteuid, getgroups, setgid, setgroups, setsid, setuid};

use super::environment::{self, Environment};
use super::users::{self, Identity};
use crate::guest::signal::{Target, send};

/// A running command. Whoever drops it has waited for it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// Readable once the process has ended.
    pub(super) exited: OwnedFd,
}

/// This side's ends of a command's pipes; none of them blocks.
#[derive(Debug)]
pub(super) struct Pipes {
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Option<ChildStdout>,
    pub(super) stderr: Option<ChildStderr>,
}

/// Starts a command.
pub(super) fn start(exec: &Exec, defaults: &Config) -> Result<(Process, Pipes), Failure> {
    let user = exec.user.as_ref().or(defaults.user.as_ref());
    let identity = users::resolve(user.map_or("", String::as_str))?;
    let environment = environment::build(&defaults.env, &exec.env, &identity.home)?;
    let cwd = exec
        .cwd
        .as_ref()
        .or(defaults.working_dir.as_ref())
        .map_or("/", String::as_str);
    if !Path::new(cwd).is_dir() {
        return Err(Failure {
            kind: FailureKind::NoDirectory,
            message: format!("there is no directory {cwd:?} in the guest"),
        });
    }
    let path = environment.get("PATH").map_or("", String::as_str);
    let program = environment::find_program(&exec.program, Path::new(cwd), path)?;
    let mut child = command(&program, exec, cwd, &environment, identity)
        .spawn()
        .map_err(|error| refused(&program, &error))?;
    let pipes = Pipes {
        stdin: child.stdin.take(),
        stdout: child.stdout.take(),
        stderr: child.stderr.take(),
    };
    match pidfd(&child).and_then(|exited| pipes.unblock().map(|()| exited)) {
        Ok(exited) => Ok((Process { child, exited }, pipes)),
        Err(error) => {
            drop(child.kill());
            drop(child.wait());
            Err(refused(&program, &error))
        }
    }
}

fn command(
    program: &Path,
    exec: &Exec,
    cwd: &str,
    environment: &Environment,
    identity: Identity,
) -> Command {
    let mut command = Command::new(program);
    command
        .arg0(&exec.program)
        .args(&exec.args)
        .env_clear()
        .envs(environment)
        .current_dir(cwd);
    command.stdin(if exec.stdin {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let groups: Vec<Gid> = identity.groups.into_iter().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let is_ours = geteuid() == uid
        && getegid() == gid
        && getgroups().is_ok_and(|ours| groups.iter().all(|group| ours.contains(group)));
    let become_user = move || {
        setsid()?;
        if !is_ours {
            setgroups(&groups)?;
            setgid(gid)?;
            setuid(uid)?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes plain system calls on values made before; it allocates nothing.
    unsafe { command.pre_exec(become_user) };
    unblock_signals(&mut command);
    command
}

/// Lets a program have the signals that the server blocks: a mask is inherited.
pub(super) fn unblock_signals(command: &mut Command) {
    let empty = SigSet::empty();
    let unblock = move || Ok(empty.thread_set_mask()?);
    // SAFETY: between fork and exec the closure makes one system call on a value made before; it allocates nothing.
    unsafe { command.pre_exec(unblock) };
}

/// Says why a program that is there did not start.
fn refused(program: &Path, error: &io::Error) -> Failure {
    let program = program.display();
    let (kind, hint) = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) => (
            FailureKind::NotFound,
            ": it is there, but its interpreter or loader is not",
        ),
        Some(Errno::EACCES | Errno::ENOEXEC) => (FailureKind::NotExecutable, ""),
        Some(Errno::E2BIG) => (
            FailureKind::Invalid,
            ": its arguments and environment are too long",
        ),
        _ if error.kind() == io::ErrorKind::InvalidInput => (FailureKind::Invalid, ""),
        _ => (FailureKind::System, ""),
    };
    Failure {
        kind,
        message: format!("could not start {program}{hint}: {error}"),
    }
}

fn pidfd(child: &Child) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two numbers and touches no memory of this process.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
    let fd = RawFd::try_from(result)
        .ok()
        .filter(|fd| *fd >= 0)
        .ok_or_else(io::Error::last_os_error)?;
    // SAFETY: pidfd_open has just made this descriptor, close-on-exec, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes reads and writes return instead of waiting.
pub(super) fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

impl Pipes {
    fn unblock(&self) -> io::Result<()> {
        self.stdin.as_ref().map_or(Ok(()), set_nonblocking)?;
        self.stdout.as_ref().map_or(Ok(()), set_nonblocking)?;
        self.stderr.as_ref().map_or(Ok(()), set_nonblocking)
    }
}

impl Process {
    /// Sends a signal to the command's process group.
    pub(super) fn signal(&self, signal: i32) -> io::Result<()> {
        // The kernel's process numbers are positive and fit.
        send(
            Target::Group(i32::try_from(self.child.id()).unwrap_or(0)),
            signal,
        )
    }

    /// Waits for the end of the process. Its number may belong to another one afterwards.
    pub(super) fn wait(mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait()?;
        let signal = status.signal().map(ExitStatus::Signal);
        Ok(status
            .code()
            .map(ExitStatus::Code)
            .or(signal)
            // It is one or the other.
            .unwrap_or(ExitStatus::Code(255)))
    }
}
