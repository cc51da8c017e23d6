//! The tests that boot stock kernels: every test binary named `nested`, all in one machine.

use std::ffi::OsString;

use super::TestError;
use crate::cargo::{self, Built, CargoError, Target};
use crate::command::{self, CommandError};
use crate::images::{self, Image};
use crate::kernel;
use crate::nested;
use crate::playground;

/// The name of the test targets that need a KVM for stock kernels.
const TARGET: &str = "nested";
/// The memory that the guests of several tests at once, and the machine's overlay, have together.
const MEMORY_MIB: &str = "6144";
/// Hangs are cut off after this; the tests themselves take a fraction.
const TIMEOUT_S: &str = "1500";

/// Builds the test binaries and runs them one after the other.
pub(super) fn run() -> Result<(), TestError> {
    let targets = cargo::targets(&cargo::workspace().join("Cargo.toml"))?;
    let tests = tests(&targets);
    let built = build_tests(&tests)?;
    let mut nested = nested::command();
    for (name, value) in inputs(&targets)? {
        nested.env(name, value);
    }
    // The tests mount, make device nodes and change owners.
    nested.args([
        "--root",
        "--memory-mib",
        MEMORY_MIB,
        "--timeout-s",
        TIMEOUT_S,
        "--",
        "sh",
        "-c",
    ]);
    nested
        .args([SCRIPT, "sh"])
        .args(script_args(&tests, &built)?);
    command::show(&mut nested).map_err(|error| match error {
        // The command line is long and of no use to who reads that.
        CommandError::Status { status, .. } => TestError::Nested { status },
        other => TestError::Command(other),
    })
}

/// Runs each of the pairs of folder and program, and fails after all if one did.
const SCRIPT: &str = r#"
failed=
while [ $# -gt 0 ]; do
	cd "$1" && "$2" || failed="$failed $1"
	shift 2
done
[ -z "$failed" ] || { echo "nested tests failed in$failed" >&2; exit 1; }
"#;

/// The targets among `targets` that boot kernels.
pub(super) fn tests(targets: &[Target]) -> Vec<&Target> {
    targets
        .iter()
        .filter(|target| target.kind == "test" && target.name == TARGET)
        .collect()
}

/// The options by which cargo takes just these tests.
pub(super) fn selection<'a>(tests: &[&'a Target]) -> Vec<&'a str> {
    let packages = tests.iter().flat_map(|test| ["--package", &test.package]);
    ["--test", TARGET].into_iter().chain(packages).collect()
}

fn build_tests(tests: &[&Target]) -> Result<Vec<Built>, CargoError> {
    let mut args = vec!["--no-run"];
    args.extend(selection(tests));
    cargo::build("test", &args)
}

/// The folder and the program of each test.
fn script_args(tests: &[&Target], built: &[Built]) -> Result<Vec<OsString>, TestError> {
    let mut args = Vec::new();
    for test in tests {
        let program = built.iter().find(|built| built.source == test.source);
        let program = program.ok_or_else(|| TestError::NotBuilt {
            package: test.package.clone(),
        })?;
        args.extend([
            test.folder.clone().into(),
            program.executable.clone().into(),
        ]);
    }
    Ok(args)
}

/// The environment that the tests take their inputs from.
fn inputs(targets: &[Target]) -> Result<Vec<(&'static str, OsString)>, TestError> {
    let kernel = kernel::ensure_kernel()?;
    let image = |image| images::ensure(image).map(|folder| images::reference(&folder).into());
    let mut inputs = vec![
        ("VM_TEST_KERNEL", kernel.vmlinuz.into()),
        ("VM_TEST_MODULES", kernel.modules_dir.into()),
        ("VM_TEST_BUSYBOX_IMAGE", image(Image::Busybox)?),
        ("VM_TEST_DEBIAN_IMAGE", image(Image::Debian)?),
    ];
    if let Some(playground) = playground::build(targets)? {
        inputs.push(("VM_TEST_PLAYGROUND", playground.into()));
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests;
