//! The whole line once: an image becomes a disk, a session writes to it and shuts down, another reads it back.
//!
//! The import needs no KVM, so it always runs here. The sessions run where `/dev/kvm` takes a stock kernel: here, or
//! in the nested bed on a copy of the store.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cargo::{self, CargoError};
use crate::command::{self, CommandError};
use crate::images::{self, Image, ImageError};
use crate::kernel::{self, KernelError};
use crate::nested;
use crate::playground;

mod sessions;
mod table;

pub(crate) use sessions::SessionsArgs;

/// The hidden chore that runs inside the machine.
const INSIDE: &str = "demo-sessions";

/// What to show it with.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image: `oci:DIR` or `oci:DIR:TAG`. A Debian with systemd if there is none.
    #[arg(long, value_name = "REF")]
    image: Option<String>,
    /// The kernel: a `vmlinuz`, or the folder of an unpacked kernel package. Debian's if there is none.
    #[arg(long, value_name = "PATH")]
    kernel: Option<PathBuf>,
    /// The kernel's modules, if they are not at `../lib/modules/VERSION` of the kernel.
    #[arg(long, value_name = "DIR", requires = "kernel")]
    modules: Option<PathBuf>,
}

/// A demonstration that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DemoError {
    #[error("the workspace has no program named playground")]
    NoPlayground,
    #[error("wrote {written:?} to the session's disk and read back {read:?}")]
    Differs { written: String, read: String },
    #[error("{line} printed something else than JSON")]
    Json {
        line: String,
        source: serde_json::Error,
    },
    #[error("could not make a temporary folder")]
    Temporary(#[source] std::io::Error),
    #[error(transparent)]
    Cargo(#[from] CargoError),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// One step that was shown, with what playground said of it.
#[derive(Debug, Clone, PartialEq)]
struct Step {
    name: &'static str,
    report: Value,
}

/// Shows it all, and prints a table of the steps.
pub(crate) fn main(args: &Args) -> Result<(), DemoError> {
    let targets = cargo::targets(&cargo::workspace().join("Cargo.toml"))?;
    let playground = playground::build(&targets)?.ok_or(DemoError::NoPlayground)?;
    let (kernel, modules) = kernel(args)?;
    let image = image(args)?;
    let work = tempfile::tempdir().map_err(DemoError::Temporary)?;
    let store = work.path().join("store");
    let mut steps = vec![import(&playground, &store, &image)?];
    let sessions = SessionsArgs {
        playground,
        store,
        kernel,
        modules,
    };
    steps.extend(if nested::runs_stock_kernels() {
        sessions::run(&sessions)?
    } else {
        in_machine(&sessions)?
    });
    print!("{}", table::table(&steps));
    Ok(())
}

/// The hidden chore: runs the sessions on a copy of the store, which can't be written here, and prints their reports.
pub(crate) fn inside(args: &SessionsArgs) -> Result<(), DemoError> {
    let work = tempfile::tempdir().map_err(DemoError::Temporary)?;
    let store = work.path().join("store");
    command::run(
        Command::new("cp")
            .args(["-a", "--sparse=always"])
            .arg(&args.store)
            .arg(&store),
    )?;
    let steps = sessions::run(&SessionsArgs {
        store,
        ..args.clone()
    })?;
    let reports: Vec<_> = steps.into_iter().map(|step| step.report).collect();
    println!("{}", Value::Array(reports));
    Ok(())
}

fn in_machine(args: &SessionsArgs) -> Result<Vec<Step>, DemoError> {
    eprintln!(
        "xtask: no KVM for stock kernels here, so the sessions run in an emulated machine: slowly"
    );
    let this = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("xtask"));
    let mut nested = nested::command();
    nested.arg("--").arg(this).arg(INSIDE).args(args.words());
    let answer = command::run_piping_stdout(nested.stderr(Stdio::inherit()))?;
    let reports: Vec<Value> = json(&nested, &answer)?;
    Ok(sessions::NAMES
        .into_iter()
        .zip(reports)
        .map(|(name, report)| Step { name, report })
        .collect())
}

fn import(playground: &Path, store: &Path, image: &str) -> Result<Step, DemoError> {
    let mut import = Command::new(playground);
    import.arg("--store").arg(store).arg("--json");
    import.args(["image", "import", image, "--name", sessions::IMAGE]);
    Ok(Step {
        name: "image import",
        report: ask(&mut import)?,
    })
}

/// Runs a playground and reads its report.
fn ask(command: &mut Command) -> Result<Value, DemoError> {
    let answer = command::run_piping_stdout(command.stderr(Stdio::inherit()))?;
    json(command, &answer)
}

fn json<T: serde::de::DeserializeOwned>(command: &Command, answer: &[u8]) -> Result<T, DemoError> {
    serde_json::from_slice(answer).map_err(|source| DemoError::Json {
        line: command::line(command),
        source,
    })
}

/// The kernel and, where it does not lie beside it, the folder of its modules.
fn kernel(args: &Args) -> Result<(PathBuf, Option<PathBuf>), DemoError> {
    if let Some(kernel) = &args.kernel {
        return Ok((kernel.clone(), args.modules.clone()));
    }
    let debian = kernel::ensure_kernel()?;
    Ok((debian.vmlinuz, Some(debian.modules_dir)))
}

fn image(args: &Args) -> Result<String, DemoError> {
    match &args.image {
        Some(reference) => Ok(reference.clone()),
        None => Ok(images::reference(&images::ensure(Image::Debian)?)),
    }
}
