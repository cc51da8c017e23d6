//! The `measure` program, which takes each step of ours as a process of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::BenchError;
use crate::cargo;
use crate::command;
use crate::images;

const NAME: &str = "measure";
/// Emulated machines stop now and then: QEMU 7.2 gives a guest within the guest an interrupt that it has switched off,
/// which then waits for a lock of what it interrupted.
const TRIES: u32 = 5;
/// How much later each try begins than the one before: with a clock that counts instructions, one that begins as another
/// did may come to the same end.
const TRY_OFFSET_MS: u32 = 7;

/// Changes to a disk: so many runs of new bytes at random places.
#[derive(Debug, Clone, Copy)]
pub(super) struct Changes {
    pub(super) runs: u64,
    pub(super) run_bytes: u64,
    pub(super) seed: u64,
}

impl Changes {
    /// Blocks of 4 KiB.
    pub(super) fn scattered(blocks: u64, seed: u64) -> Self {
        Self {
            runs: blocks,
            run_bytes: 4096,
            seed,
        }
    }

    /// Runs of 1 MiB.
    pub(super) fn runs(runs: u64, seed: u64) -> Self {
        Self {
            runs,
            run_bytes: 1 << 20,
            seed,
        }
    }

    fn words(self) -> [String; 6] {
        [
            "--runs".to_owned(),
            self.runs.to_string(),
            "--run-bytes".to_owned(),
            self.run_bytes.to_string(),
            "--seed".to_owned(),
            self.seed.to_string(),
        ]
    }
}

/// The program, built for release.
#[derive(Debug, Clone)]
pub(super) struct Measure {
    program: PathBuf,
}

impl Measure {
    /// Builds it.
    ///
    /// # Errors
    /// [`BenchError::Cargo`] if it does not build.
    pub(super) fn build() -> Result<Self, BenchError> {
        Ok(Self {
            program: build(NAME)?,
        })
    }

    fn verb(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(verb);
        command
    }

    /// Imports the image in `folder`; the chunks have the default size if none is given.
    pub(super) fn import(&self, folder: &Path, store: &Path, chunk_bytes: Option<u32>) -> Command {
        let mut command = self.verb("import");
        command.arg(images::reference(folder)).arg(store);
        command.args(chunk_bytes.map(|bytes| format!("--chunk-bytes={bytes}")));
        command
    }

    /// Imports the image in `folder` to a disk of this size.
    pub(super) fn import_sized(&self, folder: &Path, store: &Path, disk_bytes: u64) -> Command {
        let mut command = self.import(folder, store, None);
        command.arg(format!("--disk-bytes={disk_bytes}"));
        command
    }

    pub(super) fn floor(&self, folder: &Path) -> Command {
        let mut command = self.verb("floor");
        command.arg(images::reference(folder));
        command
    }

    /// Imports two versions of an image and compares their chunks.
    pub(super) fn dedup(&self, store: &Path, versions: [&Path; 2], chunk_bytes: u32) -> Command {
        let mut command = self.verb("dedup");
        command.arg(store).args(versions.map(images::reference));
        command.arg(format!("--chunk-bytes={chunk_bytes}"));
        command
    }

    pub(super) fn change(
        &self,
        store: &Path,
        snapshot: &str,
        id: &str,
        changes: Changes,
    ) -> Command {
        let mut command = self.verb("change");
        command
            .arg(store)
            .args([snapshot, id])
            .args(changes.words());
        command
    }

    pub(super) fn change_file(&self, file: &Path, changes: Changes) -> Command {
        let mut command = self.verb("change-file");
        command.arg(file).args(changes.words());
        command
    }

    pub(super) fn commit(&self, store: &Path, id: &str) -> Command {
        let mut command = self.verb("commit");
        command.arg(store).arg(id);
        command
    }

    pub(super) fn import_disk(&self, file: &Path, store: &Path) -> Command {
        let mut command = self.verb("import-disk");
        command.arg(file).arg(store);
        command
    }

    pub(super) fn export(&self, store: &Path, snapshot: &str, file: &Path) -> Command {
        let mut command = self.verb("export");
        command.arg(store).arg(snapshot).arg(file);
        command
    }

    /// Serves a registry until its input ends.
    pub(super) fn registry(&self) -> Command {
        self.verb("registry")
    }

    pub(super) fn push(&self, store: &Path, snapshot: &str, reference: &str) -> Command {
        let mut command = self.verb("push");
        command.arg(store).args([snapshot, reference]);
        command
    }

    pub(super) fn pull(&self, store: &Path, reference: &str) -> Command {
        let mut command = self.verb("pull");
        command.arg(store).arg(reference);
        command
    }

    /// One of the verbs that read a snapshot, and a file with the same bytes.
    pub(super) fn read(&self, verb: &str, store: &Path, snapshot: &str, file: &Path) -> Command {
        let mut command = self.verb(verb);
        command.arg(store).arg(snapshot).arg(file);
        command
    }
}

/// Builds a program of the benchmarks for release.
///
/// # Errors
/// [`BenchError::Cargo`] if it does not build.
pub(super) fn build(name: &'static str) -> Result<PathBuf, BenchError> {
    build_of("benches", name)
}

/// Builds a program of `package` for release.
///
/// # Errors
/// [`BenchError::Cargo`] if it does not build.
pub(super) fn build_of(package: &str, name: &'static str) -> Result<PathBuf, BenchError> {
    let built = cargo::build("build", &["--release", "--package", package, "--bin", name])?;
    let mut programs = built.into_iter().map(|built| built.executable);
    programs
        .find(|program| program.file_stem() == Some(OsStr::new(name)))
        .ok_or(BenchError::NoProgram { name })
}

/// Runs a program that prints a report a line.
///
/// # Errors
/// [`BenchError::Command`] if it fails, or as [`Report::parse`].
pub(super) fn reports(command: &mut Command) -> Result<Vec<Report>, BenchError> {
    let printed = command::run_piping_stdout(command.stderr(Stdio::inherit()))?;
    let text = String::from_utf8_lossy(&printed);
    text.lines()
        .map(|line| Report::parse(command, line.as_bytes()))
        .collect()
}

/// The same in an emulated machine, some times if it stops. `describe` gets the seconds after which the work shall begin.
///
/// # Errors
/// Those of the last try.
pub(super) fn tried(
    work: &str,
    describe: impl Fn(String) -> Command,
) -> Result<Vec<Report>, BenchError> {
    let mut tries = 1;
    loop {
        let pause = f64::from(tries * TRY_OFFSET_MS) / 1e3;
        match reports(&mut describe(pause.to_string())) {
            Err(error) if tries < TRIES => {
                eprintln!("xtask: {work} failed, and is tried again: {error}");
                tries += 1;
            }
            ended => return ended,
        }
    }
}

/// A report of the program.
#[derive(Debug, Clone)]
pub(super) struct Report {
    line: String,
    value: Value,
}

impl Report {
    /// What `command` has printed.
    ///
    /// # Errors
    /// [`BenchError::Report`] if it is no JSON.
    pub(super) fn parse(command: &Command, printed: &[u8]) -> Result<Self, BenchError> {
        let line = command::line(command);
        match serde_json::from_slice(printed) {
            Ok(value) => Ok(Self { line, value }),
            Err(_) => Err(BenchError::Report {
                line,
                printed: command::tail(printed),
            }),
        }
    }

    /// Runs `command` and reads what it prints.
    ///
    /// # Errors
    /// [`BenchError::Command`] if it fails, or as [`Self::parse`].
    pub(super) fn of(mut command: Command) -> Result<Self, BenchError> {
        let printed = command::run(&mut command)?;
        Self::parse(&command, &printed)
    }

    /// The number at a JSON pointer, such as `/latency/p99_us`.
    ///
    /// # Errors
    /// [`BenchError::Report`] if there is none.
    pub(super) fn number(&self, pointer: &str) -> Result<f64, BenchError> {
        let found = self.value.pointer(pointer).and_then(Value::as_f64);
        found.ok_or_else(|| self.unexpected())
    }

    /// The text at a JSON pointer.
    ///
    /// # Errors
    /// [`BenchError::Report`] if there is none.
    pub(super) fn text(&self, pointer: &str) -> Result<String, BenchError> {
        let found = self.value.pointer(pointer).and_then(Value::as_str);
        found.map(str::to_owned).ok_or_else(|| self.unexpected())
    }

    /// The truth value at a JSON pointer.
    ///
    /// # Errors
    /// [`BenchError::Report`] if there is none.
    pub(super) fn flag(&self, pointer: &str) -> Result<bool, BenchError> {
        let found = self.value.pointer(pointer).and_then(Value::as_bool);
        found.ok_or_else(|| self.unexpected())
    }

    fn unexpected(&self) -> BenchError {
        BenchError::Report {
            line: self.line.clone(),
            printed: self.value.to_string(),
        }
    }
}
