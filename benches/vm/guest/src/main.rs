//! The init of a guest that is measured. The kernel hands `bench=WORK` of its command line on as a variable.
//!
//! What it finds goes to the serial port as lines `result NAME VALUE`; times are in seconds by the guest's clock.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};

mod block;
mod commands;
mod net;

type Outcome = Result<(), Box<dyn Error>>;

/// Where the modules are, named in the order that they need each other.
const MODULES: &str = "/mod";
/// How long a device may take to appear.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() {
    if process::id() != 1 {
        // A command of the round trip: it starts, and ends.
        return;
    }
    // The first thing that user space does.
    println!("up");
    if let Err(error) = work() {
        println!("failed: {error}");
    }
    // Nothing is left to do if this fails: the kernel then panics, and resets.
    let _not_reset = reboot(RebootMode::RB_AUTOBOOT);
}

fn work() -> Outcome {
    match env::var("bench").as_deref() {
        Ok("reboot") => Ok(()),
        Ok("commands") => prepare().and_then(|()| commands::serve()),
        Ok("block") => prepare().and_then(|()| block::measure()),
        Ok("net") => prepare().and_then(|()| net::measure()),
        other => Err(format!("there is no work {other:?}").into()),
    }
}

/// Mounts `/dev` and `/sys`, and loads the modules.
fn prepare() -> Outcome {
    let none = None::<&str>;
    for (kind, at) in [("devtmpfs", "/dev"), ("sysfs", "/sys")] {
        mount(none, at, Some(kind), MsFlags::empty(), none)?;
    }
    let entries = fs::read_dir(MODULES)?;
    let mut modules: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_, std::io::Error>>()?;
    modules.sort();
    for path in modules {
        let file = fs::File::open(&path)?;
        nix::kmod::finit_module(&file, c"", nix::kmod::ModuleInitFlags::empty())
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Waits until `path` is there.
fn appear(path: &Path) -> Outcome {
    let begun = Instant::now();
    while !path.exists() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{} does not appear", path.display()).into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Runs a program to its end.
fn run(program: &str, args: &[&str]) -> Outcome {
    let status = Command::new(program).args(args).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{program} {}: {status}", args.join(" ")).into()),
    }
}

fn report(name: &str, value: f64) {
    println!("result {name} {value}");
}
