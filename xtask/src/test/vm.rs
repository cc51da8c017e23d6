//! The tests that boot stock kernels: every test binary named `nested`, each in a machine of its own.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitStatus;

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
/// A machine that stands still is cut off after this; the tests of one binary take a fraction, and have deadlines of
/// their own.
const TIMEOUT_S: &str = "600";
/// How often a binary is started, at the most, in machines that stand still or die.
const TRIES: u32 = 2;

/// Builds the test binaries and runs them one after the other; fails after all if one did.
pub(super) fn run() -> Result<(), TestError> {
    let targets = cargo::targets(&cargo::workspace().join("Cargo.toml"))?;
    let tests = tests(&targets);
    let built = build_tests(&tests)?;
    let inputs = inputs(&targets)?;
    let mut failed = Vec::new();
    for test in &tests {
        if !run_test(test, executable(test, &built)?, &inputs)? {
            failed.push(test.package.clone());
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(TestError::Nested {
            packages: failed.join(", "),
        }),
    }
}

/// Runs one test binary; whether its tests passed.
fn run_test(test: &Target, program: &Path, inputs: &[(&str, OsString)]) -> Result<bool, TestError> {
    for left in (0..TRIES).rev() {
        let mut nested = nested::command();
        nested.envs(inputs.iter().map(|(name, value)| (name, value)));
        // The tests mount, make device nodes and change owners.
        nested.args([
            "--root",
            "--memory-mib",
            MEMORY_MIB,
            "--timeout-s",
            TIMEOUT_S,
        ]);
        nested.arg("--").arg(program).current_dir(&test.folder);
        match command::show(&mut nested) {
            Ok(()) => return Ok(true),
            Err(CommandError::Status { status, .. }) if left > 0 && is_machines_fault(status) => {
                println!(
                    "xtask: the machine of {}'s tests failed ({status}); again",
                    test.package
                );
            }
            // The command line is long and of no use to who reads that.
            Err(CommandError::Status { .. }) => return Ok(false),
            Err(other) => return Err(other.into()),
        }
    }
    Ok(false)
}

/// Whether the emulated machine ended before the tests did. Two processors that run guests at the same time have been
/// seen to stop it; tests that hang or fail end by themselves, and are never run again.
fn is_machines_fault(status: ExitStatus) -> bool {
    let ours = [nested::STATUS_TIMEOUT, nested::STATUS_FAILED].map(i32::from);
    !nested::runs_stock_kernels() && status.code().is_some_and(|code| ours.contains(&code))
}

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

/// The program that was built of a test.
fn executable<'a>(test: &Target, built: &'a [Built]) -> Result<&'a Path, TestError> {
    let found = built.iter().find(|built| built.source == test.source);
    found
        .map(|built| built.executable.as_path())
        .ok_or_else(|| TestError::NotBuilt {
            package: test.package.clone(),
        })
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
    if !nested::runs_stock_kernels() {
        inputs.push(("VM_TEST_EMULATED", "1".into()));
    }
    if let Some(playground) = playground::build(targets)? {
        inputs.push(("VM_TEST_PLAYGROUND", playground.into()));
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests;
