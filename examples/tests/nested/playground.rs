//! Running the program, and what it answered.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A setting without which nothing here can run.
pub(crate) fn env(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("set {name}; see the head of this test's main.rs"))
}

/// Emulated machines are slow.
const BOOT_TIMEOUT: [&str; 2] = ["--boot-timeout", "180"];

/// A store, with the busybox image as `box` in it.
pub(crate) struct Bed {
    pub(crate) folder: TempDir,
}

impl Bed {
    /// Without any image.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    pub(crate) fn new() -> Self {
        let bed = Self::empty();
        let image = env("VM_TEST_BUSYBOX_IMAGE");
        bed.json(&["image", "import", &image, "--name", "box", "--size", "1GiB"]);
        bed
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program with this store. What it starts gets the kernel from its options.
    pub(crate) fn command(&self, args: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(env("VM_TEST_PLAYGROUND"));
        command.arg("--store").arg(self.path("store"));
        for arg in args {
            command.arg(arg);
            // A start that is not described anew has the patience of real machines otherwise.
            if arg.as_ref() == "resume" {
                command.args(BOOT_TIMEOUT);
            }
        }
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs what must succeed, and returns its one JSON object.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self
            .command(&[&["--json"], args].concat())
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        object(&output)
    }

    /// Starts a session and runs `script` in it.
    pub(crate) fn session(&self, id: &str, script: &str) -> Value {
        self.json(
            &args_of_run(&machine(), id, script)
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        )
    }

    pub(crate) fn resume(&self, id: &str, script: &str) -> Value {
        self.json(&["resume", id, "--", "sh", "-c", script])
    }

    /// Runs with `input` on its standard input.
    pub(crate) fn run_with_input(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        output
    }

    /// The state of a session by `ls`.
    pub(crate) fn state(&self, id: &str) -> Option<String> {
        let sessions = self.json(&["ls"]);
        let sessions = sessions["sessions"].as_array().unwrap();
        let found = sessions.iter().find(|session| session["session"] == id)?;
        Some(found["state"].as_str().unwrap().to_owned())
    }

    /// Exports a snapshot and has e2fsck judge it.
    pub(crate) fn check(&self, snapshot: &str) {
        let file = self.path("check.raw");
        drop(std::fs::remove_file(&file));
        self.json(&["disk", "export", snapshot, file.to_str().unwrap()]);
        let output = Command::new("e2fsck")
            .arg("-fn")
            .arg(&file)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && !text.contains("recovery"),
            "{text}"
        );
    }
}

/// The options that name the kernel, and suit a slow machine.
pub(crate) fn machine() -> Vec<String> {
    let options = [
        ("--kernel", env("VM_TEST_KERNEL")),
        ("--modules", env("VM_TEST_MODULES")),
    ];
    let options = options
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value]);
    options.chain(BOOT_TIMEOUT.map(str::to_owned)).collect()
}

/// The arguments of a run of the busybox image.
pub(crate) fn args_of_run(machine: &[String], id: &str, script: &str) -> Vec<String> {
    let mut args: Vec<String> = ["run", "box", "--session", id].map(str::to_owned).to_vec();
    args.extend_from_slice(machine);
    args.extend(["--", "sh", "-c", script].map(str::to_owned));
    args
}

/// What was printed on standard output must be one JSON object in one line.
pub(crate) fn object(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{output:?}");
    let value: Value = serde_json::from_str(&text).unwrap();
    assert!(value.is_object(), "{value}");
    value
}

/// The line on standard error that says why a run failed.
pub(crate) fn complaint(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1, "{text}");
    let line = lines[0].strip_prefix("playground: ");
    line.unwrap_or_else(|| panic!("{text}")).to_owned()
}
