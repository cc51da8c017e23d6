//! The emulated machine: its processes, its devices, and its end.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::events::{self, Ports, Signals};
use super::share::{Caching, Server};
use super::{Args, CPUS, MEMORY_MIB, NestedError, guest, tsc};
use crate::command::{self, CommandError};
use crate::file_error::file_error;
use crate::kernel::KernelPaths;

/// The emulated CPU: one that `kvm_amd` accepts.
const CPU: &str = "EPYC,+svm";
/// What the machine's kernel is told. On a busy host its clocks seem to run apart, and it would take the TSC for
/// unstable; KVM then gives its guests TSCs that stand still and jump, with which they hang and reset.
const COMMAND_LINE: &str = "console=ttyS0 reboot=t panic=-1 quiet mitigations=off tsc=reliable";
/// Frequency of a TSC that counts instructions, of which each takes a nanosecond.
const ICOUNT_KHZ: u64 = 1_000_000;
/// The size of the machine's own disk, of which only what is written takes room on the host.
const SCRATCH_BYTES: u64 = 64 << 30;

/// A process that is killed when its owner lets go of it.
#[derive(Debug)]
pub(super) struct Process(Child);

impl Process {
    /// Starts `command`.
    pub(super) fn spawn(command: &mut Command) -> Result<Self, NestedError> {
        let child = command.spawn().map_err(|source| CommandError::Start {
            line: command::line(command),
            source,
        })?;
        Ok(Self(child))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command that the kernel kills when the thread that started it ends, however that happens.
pub(super) fn guarded(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Lets programs that are started from now on inherit `fd`.
pub(super) fn keep_across_exec(fd: BorrowedFd<'_>) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}

/// Starts a machine, runs the command in it, and returns the command's status.
///
/// # Errors
/// [`NestedError`]; nothing is left of the machine either way.
pub(super) fn run(args: &Args, kernel: &KernelPaths, server: &Server) -> Result<u8, NestedError> {
    let signals = Signals::hold().map_err(file_error("hold back", Path::new("signals")))?;
    let work = tempfile::Builder::new()
        .prefix("xtask-nested-")
        .tempdir()
        .map_err(file_error("create", Path::new("a temporary folder")))?;
    let writable = writable(&args.rw)?;
    let initramfs = work.path().join("initramfs");
    fs::write(
        &initramfs,
        guest::initramfs(kernel, &writable, &script(args)?)?,
    )
    .map_err(file_error("write", &initramfs))?;
    let disk = scratch_disk(work.path())?;

    let mut qemu = guarded(Path::new("qemu-system-x86_64"));
    processor(&mut qemu, args);
    qemu.arg("-kernel")
        .arg(&kernel.vmlinuz)
        .arg("-initrd")
        .arg(&initramfs);
    let tsc_khz = match args.icount {
        true => ICOUNT_KHZ,
        false => tsc::khz(),
    };
    let command_line = format!("{COMMAND_LINE} tsc_early_khz={tsc_khz}");
    qemu.args(["-append", &command_line]);
    let drive = format!("file={},if=virtio,format=raw,cache=unsafe", disk.display());
    qemu.args(["-drive", &drive]);
    let _servers = share_folders(&mut qemu, server, work.path(), &writable)?;
    let log = work.path().join("qemu.log");
    let (ports, guest_ends) =
        ports(&mut qemu).map_err(file_error("make", Path::new("the ports")))?;
    let errors = File::create(&log).map_err(file_error("create", &log))?;
    qemu.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors);
    let _machine = Process::spawn(&mut qemu)?;
    // With QEMU's copies the only ones left, its death closes them.
    drop(guest_ends);
    events::follow(ports, signals, Duration::from_secs(args.timeout_s))
        .map_err(|error| with_log(error, &log))
}

/// Adds QEMU's own complaints to what a machine that died had to say.
fn with_log(error: NestedError, log: &Path) -> NestedError {
    match error {
        NestedError::Died { console } => {
            let log = fs::read_to_string(log).unwrap_or_default();
            let lines = log
                .lines()
                .filter(|line| !line.contains("TCG doesn't support"));
            let console = lines.fold(console, |text, line| format!("{text}\n{line}"));
            NestedError::Died { console }
        }
        other => other,
    }
}

fn script(args: &Args) -> Result<Vec<u8>, NestedError> {
    let folder =
        std::env::current_dir().map_err(file_error("find", Path::new("the current folder")))?;
    let environment: Vec<_> = std::env::vars_os().collect();
    let environment = environment
        .iter()
        .map(|(name, value)| (OsStr::new(name), OsStr::new(value)));
    Ok(guest::script(environment, &folder, &args.command))
}

fn writable(folders: &[PathBuf]) -> Result<Vec<PathBuf>, NestedError> {
    let real = |folder: &PathBuf| {
        fs::create_dir_all(folder)
            .and_then(|()| folder.canonicalize())
            .map_err(file_error("create", folder))
    };
    Ok(folders.iter().map(real).collect::<Result<_, _>>()?)
}

/// A sparse disk with an empty ext4.
fn scratch_disk(work: &Path) -> Result<PathBuf, NestedError> {
    let disk = work.join("scratch.ext4");
    File::create(&disk)
        .and_then(|file| file.set_len(SCRATCH_BYTES))
        .map_err(file_error("create", &disk))?;
    // No journal: the disk is thrown away with the machine.
    command::run(
        Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-m", "0", "-O", "^has_journal"])
            .arg(&disk),
    )?;
    Ok(disk)
}

fn processor(qemu: &mut Command, args: &Args) {
    let memory = args.memory_mib.unwrap_or(MEMORY_MIB);
    if args.icount {
        qemu.args([
            "-accel",
            "tcg,thread=single",
            "-icount",
            "shift=0,sleep=off",
            "-smp",
            "1",
        ]);
    } else {
        qemu.args(["-accel", "tcg,thread=multi,tb-size=1024", "-smp"])
            .arg(args.cpus.unwrap_or(CPUS).to_string());
    }
    qemu.args(["-M", "q35", "-cpu", CPU, "-m"])
        .arg(memory.to_string());
    // virtiofsd maps the guest's memory, so it must be shared.
    qemu.args(["-numa", "node,memdev=memory", "-object"]);
    qemu.arg(format!(
        "memory-backend-memfd,id=memory,size={memory}M,share=on"
    ));
    qemu.args(["-nodefaults", "-no-reboot", "-display", "none"]);
}

/// Serves the host's root as `host` and the writable folders as `rw0`, `rw1`, ….
fn share_folders(
    qemu: &mut Command,
    server: &Server,
    work: &Path,
    writable: &[PathBuf],
) -> Result<Vec<Process>, NestedError> {
    let root = (String::from("host"), Path::new("/"), Caching::Always);
    let folders = writable
        .iter()
        .enumerate()
        .map(|(number, folder)| (format!("rw{number}"), folder.as_path(), Caching::Auto));
    let mut servers = Vec::new();
    for (tag, folder, caching) in std::iter::once(root).chain(folders) {
        let socket = work.join(&tag);
        servers.push(server.start(folder, caching, &socket)?);
        qemu.arg("-chardev")
            .arg(format!("socket,id={tag},path={}", socket.display()));
        qemu.arg("-device")
            .arg(format!("vhost-user-fs-pci,chardev={tag},tag={tag}"));
    }
    Ok(servers)
}

/// Adds the machine's console and its three ports; returns our ends, and QEMU's to be closed once it runs.
fn ports(qemu: &mut Command) -> io::Result<(Ports, Vec<UnixStream>)> {
    qemu.args(["-device", "virtio-serial-pci"]);
    let mut guest_ends = Vec::new();
    let mut port = |name: &str| -> io::Result<UnixStream> {
        let (host, guest) = UnixStream::pair()?;
        keep_across_exec(guest.as_fd())?;
        qemu.arg("-chardev")
            .arg(format!("socket,id={name},fd={}", guest.as_raw_fd()));
        if name == "console" {
            qemu.args(["-serial", "chardev:console"]);
        } else {
            // Number 0 is kept for a console.
            let number = guest_ends.len() + 1;
            qemu.arg("-device").arg(format!(
                "virtserialport,nr={number},chardev={name},name={name}"
            ));
        }
        guest_ends.push(guest);
        Ok(host)
    };
    let ports = Ports {
        stdout: port("stdout")?,
        stderr: port("stderr")?,
        status: port("status")?,
        console: port("console")?,
    };
    Ok((ports, guest_ends))
}
