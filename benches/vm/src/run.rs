//! A small monitor on `vmm-core`: one machine, whose serial port is the process's output.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vmm_core::{Drive, Exit, FileBackend, Kernel, Net, Tap, Vm, VmConfig, VsockStream};

use crate::commands::{PORT, first_answer, round_trips};
use crate::process::PATIENCE;
use crate::spec::MEMORY_MIB;
use crate::{Outcome, memory};

/// Machines whose memory is measured beside the first.
const MORE_MACHINES: u32 = 4;
/// The guest's vsock address.
const GUEST_CID: u32 = 3;

/// One machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    kernel: PathBuf,
    #[arg(long)]
    initrd: PathBuf,
    /// The kernel's command line.
    #[arg(long)]
    append: String,
    #[arg(long)]
    disk: Option<PathBuf>,
    /// An interface of the host.
    #[arg(long)]
    tap: Option<String>,
    /// Asks the guest for commands over vsock, and reports how long they take and what machines cost. Waits for a line
    /// of input after the first answer.
    #[arg(long)]
    commands: bool,
}

pub(crate) fn main(args: &Args) -> Outcome {
    let opening = Instant::now();
    let kernel = Kernel::open(&args.kernel)?;
    let opened = opening.elapsed();
    let config = config(args, kernel.clone())?;
    let starting = Instant::now();
    let vm = Vm::start(config)?;
    let started = starting.elapsed();
    if args.commands {
        commands(args, &kernel, &vm)?;
    }
    match vm.wait() {
        Exit::Reboot => {}
        other => return Err(format!("the machine ended by {other:?}").into()),
    }
    let ran = starting.elapsed();
    if args.is_bare() {
        report("open-kernel-s", opened.as_secs_f64());
        report("start-s", started.as_secs_f64());
        report("run-s", ran.as_secs_f64());
    }
    Ok(())
}

impl Args {
    /// Whether the machine does nothing but start and end: only then is its time that of a start.
    fn is_bare(&self) -> bool {
        !self.commands && self.disk.is_none() && self.tap.is_none()
    }
}

fn config(args: &Args, kernel: Kernel) -> Outcome<VmConfig> {
    let mut config = VmConfig::new(kernel);
    config.initrd = Some(std::fs::read(&args.initrd)?);
    config.command_line.clone_from(&args.append);
    config.memory_mib = MEMORY_MIB;
    config.console = Box::new(io::stdout());
    if let Some(path) = &args.disk {
        let backend = FileBackend::open(path, false)?;
        config.drives.push(Drive::new(Arc::new(backend)));
    }
    if let Some(name) = &args.tap {
        config.nets.push(Net::new(Tap::open(name)?));
    }
    config.vsock_cid = args.commands.then_some(GUEST_CID);
    Ok(config)
}

/// Round trips of the first machine, then what it and more machines cost.
fn commands(args: &Args, kernel: &Kernel, vm: &Vm) -> Outcome {
    let mut stream = answer_of(vm)?;
    println!("answered");
    // Whoever started this process looks at the machine while it stands still.
    io::stdin().read_line(&mut String::new())?;
    for (name, value) in round_trips(&mut stream)? {
        report(&name, value);
    }
    let first = memory::of_this()?;
    let mut others = Vec::new();
    for _ in 0..MORE_MACHINES {
        let mut config = config(args, kernel.clone())?;
        config.console = Box::new(io::sink());
        let vm = Vm::start(config)?;
        let stream = answer_of(&vm)?;
        others.push((vm, stream));
    }
    let all = memory::of_this()?;
    report("memory-first-vm-mib", first);
    report(
        "memory-next-vm-mib",
        (all - first) / f64::from(MORE_MACHINES),
    );
    drop(others);
    stream.write_all(b"q")?;
    Ok(())
}

fn answer_of(vm: &Vm) -> Outcome<VsockStream> {
    let host = vm.vsock().ok_or("a machine without vsock")?;
    first_answer(|| host.connect(PORT, PATIENCE.min(Duration::from_secs(60))))
}

fn report(name: &str, value: f64) {
    println!("result {name} {value}");
}
