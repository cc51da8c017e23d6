//! The process of a docker-registry.
//!
//! Invariant: it does not outlive this process, however that ends.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{BedError, file_error};

/// The program of Debian's package of the same name.
pub(super) const PROGRAM: &str = "docker-registry";

/// Starts a program that gets a signal when the thread that started it ends. Of util-linux.
const SETPRIV: &str = "setpriv";

/// How long a registry may take until it listens, on a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How often its log is looked at until then.
const POLL: Duration = Duration::from_millis(10);

/// What it logs when it listens, before the address.
const LISTENS: &str = "listening on ";

/// A docker-registry that listens. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    log: PathBuf,
    /// The child's starter thread lives until this is dropped.
    _starter: mpsc::Sender<()>,
}

impl Process {
    /// Runs a registry by `config`, which logs to `log`, and returns when it listens.
    pub(super) fn start(config: &Path, log: &Path) -> Result<Self, BedError> {
        let output = File::create(log).map_err(file_error("create", log))?;
        let errors = output.try_clone().map_err(file_error("open", log))?;
        let mut command = Command::new(SETPRIV);
        command
            .args(["--pdeathsig", "KILL", PROGRAM, "serve"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        let (child, starter) = spawn(command)?;
        let mut process = Self {
            child,
            log: log.to_owned(),
            _starter: starter,
        };
        process.wait_until_up()?;
        Ok(process)
    }

    /// The address that it listens at, by its log.
    pub(super) fn address(&self) -> Option<String> {
        let log = self.log();
        let after = log.split(LISTENS).nth(1)?;
        let end = after.find(|c: char| c == '"' || c == ',' || c.is_whitespace());
        // A line that is still being written has no end yet.
        Some(after[..end?].to_owned())
    }

    /// What it printed so far.
    pub(super) fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn wait_until_up(&mut self) -> Result<(), BedError> {
        let begun = Instant::now();
        while self.address().is_none() {
            if !matches!(self.child.try_wait(), Ok(None)) {
                let output = self.log();
                return Err(BedError::Failed {
                    program: PROGRAM,
                    output,
                });
            }
            if begun.elapsed() > START_DEADLINE {
                let waited_s = START_DEADLINE.as_secs();
                let output = self.log();
                return Err(BedError::NotUp { waited_s, output });
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Spawns from a thread that lives for as long as the sender, because the signal comes when that thread ends: the
/// caller's may be a test's, and the registry shared among tests.
fn spawn(mut command: Command) -> Result<(Child, mpsc::Sender<()>), BedError> {
    let (spawned, child) = mpsc::channel();
    let (starter, dropped) = mpsc::channel();
    thread::spawn(move || {
        _ = spawned.send(command.spawn());
        _ = dropped.recv();
    });
    let child = child.recv().unwrap_or_else(|gone| {
        // The thread panicked, which `spawn` does not do.
        Err(std::io::Error::other(gone))
    });
    let child = child.map_err(|source| BedError::Run {
        program: SETPRIV,
        source,
    })?;
    Ok((child, starter))
}
