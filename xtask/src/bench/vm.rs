//! Machines of ours beside QEMU's `microvm`: starts, commands, disks, networks and memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::measure::Report;
use super::plot::{Bar, bars};
use super::table::digits;
use super::{BenchError, keep, measure};
use crate::file_error::file_error;
use crate::kernel;
use crate::nested;
use crate::packages;

mod figures;
mod guest;

use figures::{Figure, Figures};

const PROGRAM: &str = "vm-benches";
const TABLE: &str = "vm.md";
const PLOT: &str = "vm-ratios.svg";
/// Debian packages that it takes.
const PACKAGES: [&str; 5] = [
    "qemu-system-x86",
    "lz4",
    "busybox-static",
    "iproute2",
    "libc6-dev",
];
/// What is measured, each in an emulated machine of its own.
const WORKS: [&str; 4] = ["boot", "commands", "block", "net"];
/// What one of them may take.
const TIMEOUT_S: &str = "600";

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keeps the table and the plot in benches/results too.
    #[arg(long)]
    save: bool,
    /// Only these.
    #[arg(long, value_parser = WORKS, conflicts_with = "save")]
    only: Vec<String>,
}

/// Measures, and prints the table.
pub(super) fn main(args: &Args) -> Result<(), BenchError> {
    packages::ensure(&PACKAGES)?;
    let figures = Figures::new(run(args)?)?;
    let text = document(&figures);
    keep(TABLE, &text, args.save)?;
    keep(PLOT, &plot(&figures), args.save)?;
    println!("\n{text}");
    Ok(())
}

fn run(args: &Args) -> Result<Vec<Report>, BenchError> {
    let bed = Bed::new()?;
    let all = WORKS.into_iter();
    let mut reports = Vec::new();
    for work in all.filter(|work| args.only.is_empty() || args.only.iter().any(|only| only == work))
    {
        reports.extend(bed.compare(work)?);
    }
    if args.only.is_empty() {
        reports.extend(measure::reports(&mut bed.start())?);
    }
    Ok(reports)
}

/// What the measurements take.
struct Bed {
    program: PathBuf,
    vmlinux: PathBuf,
    /// An initial file system of the guest's program alone, and one with drivers.
    tiny: PathBuf,
    whole: PathBuf,
    /// Modules of the emulated machine itself.
    host_modules: String,
    _files: TempDir,
}

impl Bed {
    fn new() -> Result<Self, BenchError> {
        let program = measure::build_of(PROGRAM, PROGRAM)?;
        let files = tempfile::tempdir().map_err(file_error("create", Path::new("a folder")))?;
        let kernel = kernel::ensure_kernel()?;
        let init = guest::build()?;
        let write = |name: &str, bytes: &[u8]| -> Result<PathBuf, BenchError> {
            let path = files.path().join(name);
            fs::write(&path, bytes).map_err(file_error("write", &path))?;
            Ok(path)
        };
        Ok(Self {
            program,
            vmlinux: guest::vmlinux(&kernel.vmlinuz, files.path())?,
            tiny: write("tiny", &guest::tiny_initrd(&init)?)?,
            whole: write("whole", &guest::initrd(&init, &kernel.modules_dir)?)?,
            host_modules: guest::host_modules(&kernel.modules_dir)?.join(" "),
            _files: files,
        })
    }

    /// Does `work` with both monitors, in an emulated machine whose clock counts instructions.
    fn compare(&self, work: &str) -> Result<Vec<Report>, BenchError> {
        measure::tried(work, |pause| self.comparison(work, &pause))
    }

    fn comparison(&self, work: &str, pause: &str) -> Command {
        let mut nested = nested::command();
        nested.args(["--root", "--icount", "--memory-mib", "4096"]);
        nested.args(["--timeout-s", TIMEOUT_S, "--"]);
        nested.args(["sh", "-c", guest::LOAD_AND_RUN, "sh"]);
        // The pause comes first, then the modules of the machine itself, then the program.
        nested.arg(pause).arg(&self.host_modules);
        nested.arg(&self.program).args(["compare", "--only", work]);
        nested.arg("--kernel").arg(&self.vmlinux);
        nested.arg("--tiny-initrd").arg(&self.tiny);
        nested.arg("--initrd").arg(&self.whole);
        nested
    }

    /// Starts machines on this machine itself.
    fn start(&self) -> Command {
        let mut start = Command::new(&self.program);
        start.arg("start").arg("--kernel").arg(&self.vmlinux);
        start.arg("--initrd").arg(&self.whole);
        start
    }
}

fn plot(figures: &Figures) -> String {
    let compared: Vec<_> = figures
        .compared()
        .map(|figure| Bar {
            label: figure.work.to_owned(),
            value: figure.ratio,
            mark: figure.least,
        })
        .collect();
    bars("How many times better than QEMU's microvm", "×", &compared)
}

fn document(figures: &Figures) -> String {
    let mut rows = String::new();
    for figure in figures.compared() {
        rows += &row(&figure);
    }
    format!(
        "# Machines beside QEMU's microvm\n\nMade by `cargo xtask bench vm`: the same stock Debian 6.1 kernel (an \
         ELF), initrd and disk, one vCPU and 256 MiB, in an emulated machine whose clock counts instructions; so compare \
         the figures with each other only. QEMU is Debian 12's 7.2.\n\n\
         | work | ours | QEMU | so ours is | must be | met |\n|---|---|---|---|---|---|\n{rows}\n\
         ![ratios]({PLOT})\n\n\
         ## Where our start goes\n\n{}\n\
         - To the first line of user space, and to the end: from the start of the monitor's process, with an initrd of one \
         program that reboots at once.\n\
         - To the first answer: over vsock, with an initrd that loads drivers.\n\
         - Disks are files in a file system in memory; QEMU's disk uses io_uring in a thread of its own. Requests of the \
         guest are direct; at random places they have 4 KiB.\n\
         - TCP between guest and host over a TAP interface, without vhost.\n\
         - Memory: resident besides the guest's memory, with pages that several processes have shared out.\n",
        figures.parts()
    )
}

fn row(figure: &Figure) -> String {
    let (must, met) = match &figure.must {
        Some((must, true)) => (must.as_str(), "yes"),
        Some((must, false)) => (must.as_str(), "**no**"),
        None => ("", ""),
    };
    format!(
        "| {} | {} | {} | {}× as good | {must} | {met} |\n",
        figure.work,
        figure.ours,
        figure.theirs,
        digits(figure.ratio)
    )
}
