//! Starting a command's process.
//!
//! Invariant: the process leads a session and a process group of its own, so that signals reach all of it and
//! nothing else.
#![expect(
    unsafe_code,
    reason = "pre_exec, and pidfd_open, which no library here wraps"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use agent::protocol::{Config, Exec, ExitStatus, Failure, FailureKind, TerminalSize};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{SigHandler, SigSet, Signal};
use nix::unistd::{Gid, Uid, getegid, geteuid, getgroups, setgid, setgroups, setsid, setuid};

use super::environment::{self, Environment};
use super::terminal::{self, Terminal};
use super::users::{self, Identity};
use crate::guest::signal::{Target, send};

/// A running command. Whoever drops it has waited for it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// Readable once the process has ended.
    pub(super) exited: OwnedFd,
    terminal: Option<Terminal>,
}

/// This side's ends of a command's pipes, or of its terminal; none of them blocks.
#[derive(Debug)]
pub(super) struct Pipes {
    pub(super) stdin: Option<File>,
    pub(super) stdout: Option<File>,
    pub(super) stderr: Option<File>,
}

/// Starts a command.
pub(super) fn start(exec: &Exec, defaults: &Config) -> Result<(Process, Pipes), Failure> {
    let user = exec.user.as_ref().or(defaults.user.as_ref());
    let identity = users::resolve(user.map_or("", String::as_str))?;
    let has_terminal = exec.terminal.is_some();
    let environment = environment::build(&defaults.env, &exec.env, &identity.home, has_terminal)?;
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
    let opened = exec.terminal.map(|size| Terminal::open(size, identity.uid));
    let opened = opened.transpose().map_err(|error| Failure {
        kind: FailureKind::System,
        message: format!("could not make a terminal in the guest: {error}"),
    })?;
    let (terminal, line) = opened.unzip();
    let mut command = command(&program, exec, cwd, &environment, identity, line.is_some());
    let streams = connect(&mut command, exec.stdin, line);
    let mut child = streams
        .and_then(|()| command.spawn())
        .map_err(|error| refused(&program, &error))?;
    // It holds the command's side of a terminal, which else never hangs up.
    drop(command);
    let ready = Pipes::new(&mut child, terminal.as_ref())
        .and_then(|pipes| pidfd(&child).map(|exited| (exited, pipes)));
    match ready {
        Ok((exited, pipes)) => {
            let process = Process {
                child,
                exited,
                terminal,
            };
            Ok((process, pipes))
        }
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
    has_terminal: bool,
) -> Command {
    let mut command = Command::new(program);
    command
        .arg0(&exec.program)
        .args(&exec.args)
        .env_clear()
        .envs(environment)
        .current_dir(cwd);
    let groups: Vec<Gid> = identity.groups.into_iter().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let is_ours = geteuid() == uid
        && getegid() == gid
        && getgroups().is_ok_and(|ours| groups.iter().all(|group| ours.contains(group)));
    let become_user = move || {
        setsid()?;
        if has_terminal {
            terminal::take_control()?;
        }
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

/// Gives a command its streams: pipes, or the command's side of a terminal.
fn connect(command: &mut Command, has_input: bool, line: Option<OwnedFd>) -> io::Result<()> {
    if let Some(line) = line {
        command.stdin(line.try_clone()?);
        command.stdout(line.try_clone()?);
        command.stderr(line);
        return Ok(());
    }
    command.stdin(if has_input {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(())
}

/// Lets a program have the signals that the server blocks, and those that whoever started the server ignored: both is
/// inherited.
pub(super) fn unblock_signals(command: &mut Command) {
    let empty = SigSet::empty();
    let unblock = move || {
        for signal in Signal::iterator() {
            // SAFETY: the default needs no handler. That it is refused for SIGKILL and SIGSTOP, which nobody can ignore,
            // changes nothing.
            let _refused = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
        }
        Ok(empty.thread_set_mask()?)
    };
    // SAFETY: between fork and exec the closure makes plain system calls on a value made before; it allocates nothing.
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
    fn new(child: &mut Child, terminal: Option<&Terminal>) -> io::Result<Self> {
        let pipe = |end: Option<OwnedFd>| end.map(File::from);
        let pipes = match terminal {
            Some(terminal) => Self {
                stdin: Some(terminal.share()?),
                stdout: Some(terminal.share()?),
                stderr: None,
            },
            None => Self {
                stdin: pipe(child.stdin.take().map(OwnedFd::from)),
                stdout: pipe(child.stdout.take().map(OwnedFd::from)),
                stderr: pipe(child.stderr.take().map(OwnedFd::from)),
            },
        };
        for pipe in [&pipes.stdin, &pipes.stdout, &pipes.stderr] {
            pipe.as_ref().map_or(Ok(()), set_nonblocking)?;
        }
        Ok(pipes)
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

    /// Whether it has a terminal.
    pub(super) fn has_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// Tells its terminal, if it has one, what size it has now.
    pub(super) fn resize(&self, size: TerminalSize) -> io::Result<()> {
        self.terminal
            .as_ref()
            .map_or(Ok(()), |terminal| terminal.resize(size))
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
