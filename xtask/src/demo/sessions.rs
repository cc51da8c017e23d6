//! The two sessions of the demonstration.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;

use super::{DemoError, Step, ask};

/// The name that the image is imported under.
pub(super) const IMAGE: &str = "demo-image";
/// What the steps are called, in their order.
pub(super) const NAMES: [&str; 2] = ["run", "resume"];

const SESSION: &str = "demo";
/// Systemd takes its time on an emulated CPU.
const TIMEOUT_S: &str = "240";

/// Where everything is that the sessions need.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SessionsArgs {
    #[arg(long)]
    pub(super) playground: PathBuf,
    #[arg(long)]
    pub(super) store: PathBuf,
    #[arg(long)]
    pub(super) kernel: PathBuf,
    #[arg(long)]
    pub(super) modules: Option<PathBuf>,
}

impl SessionsArgs {
    /// The command line that these were read from.
    pub(super) fn words(&self) -> Vec<OsString> {
        let modules = self.modules.as_ref().map(|modules| ("--modules", modules));
        [
            ("--playground", &self.playground),
            ("--store", &self.store),
            ("--kernel", &self.kernel),
        ]
        .into_iter()
        .chain(modules)
        .flat_map(|(name, value)| [name.into(), value.clone().into()])
        .collect()
    }

    /// A session from `source`, in which `script` runs.
    fn session(&self, source: &[&str], script: &str) -> Command {
        let mut command = Command::new(&self.playground);
        command.arg("--store").arg(&self.store).arg("--json");
        command.args(source);
        command.arg("--kernel").arg(&self.kernel);
        if let Some(modules) = &self.modules {
            command.arg("--modules").arg(modules);
        }
        command.args(["--boot-timeout", TIMEOUT_S, "--shutdown-timeout", TIMEOUT_S]);
        command.args([
            OsStr::new("--"),
            "sh".as_ref(),
            "-c".as_ref(),
            script.as_ref(),
        ]);
        command
    }
}

/// Writes in one session and reads in the next.
///
/// # Errors
/// [`DemoError::Differs`] if the second reads something else than the first wrote.
pub(super) fn run(args: &SessionsArgs) -> Result<Vec<Step>, DemoError> {
    let note = format!("written by process {}", std::process::id());
    eprintln!("xtask: a session writes {note:?} to /note and shuts down");
    let write = format!("echo '{note}' > /note; sync");
    let first = ask(&mut args.session(&["run", IMAGE, "--session", SESSION], &write))?;
    eprintln!("xtask: the session resumes and reads /note");
    let second = ask(&mut args.session(&["resume", SESSION], "cat /note"))?;
    let read = second["stdout"].as_str().unwrap_or_default().trim_end();
    if read != note {
        return Err(DemoError::Differs {
            written: note,
            read: read.to_owned(),
        });
    }
    let steps = NAMES.into_iter().zip([first, second]);
    Ok(steps.map(|(name, report)| Step { name, report }).collect())
}
