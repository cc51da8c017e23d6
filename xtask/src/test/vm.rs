//! The tests that boot stock kernels: every test binary named `nested`, in batches that have a machine each.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use super::TestError;
use crate::cargo::{self, Built, CargoError, Target};
use crate::command;
use crate::images::{self, Image};
use crate::kernel::{self, Series};
use crate::nested;
use crate::playground;

mod batch;

use batch::Batch;

/// The name of the test targets that need a KVM for stock kernels.
const TARGET: &str = "nested";
/// The memory that the guests of several tests at once, and the machine's overlay, have together.
const MEMORY_MIB: &str = "6144";
/// How many tests of a batch run at a time: several guests wait for something else than the CPU most of the time.
const THREADS: &str = "3";
/// How many tests a batch has at the most where its machine is emulated: twice what runs at a time, so that a slow
/// test has company and the machine's own start is shared.
const BATCH_TESTS: usize = 6;
/// When a machine that stands still is cut off, for each time that a test is run where the machine is emulated. There,
/// guests' timers stop now and then, all of them in one machine at the same time, and some of its tests then find guests
/// that hang; or the machine stops as a whole. What is wrong with the code fails every time. A batch takes two minutes;
/// later tries have more time in case that it is the host that is slow.
const TIMEOUTS_S: [u32; 3] = [400, 600, 900];
/// Likewise for all tests at once, where no machine is emulated.
const DIRECT_TIMEOUT_S: u32 = 900;

/// Builds the test binaries and runs their tests; fails after all if one did.
pub(super) fn run() -> Result<(), TestError> {
    let targets = cargo::targets(&cargo::workspace().join("Cargo.toml"))?;
    let tests = tests(&targets);
    let built = build_tests(&tests)?;
    let inputs = inputs(&targets)?;
    let most = match nested::runs_stock_kernels() {
        true => usize::MAX,
        false => BATCH_TESTS,
    };
    let mut waiting = Vec::new();
    for test in tests {
        waiting.extend(batch::deal(test, executable(test, &built)?, most)?);
    }
    let failed = in_lanes(waiting, |batch| run_batch(batch, &inputs))?;
    match failed.is_empty() {
        true => Ok(()),
        false => Err(TestError::Nested {
            tests: failed.join(", "),
        }),
    }
}

/// Calls `run` for each of `batches`, as many at a time as there are lanes, and returns all that it returned.
fn in_lanes(
    batches: Vec<Batch<'_>>,
    run: impl Fn(Batch<'_>) -> Result<Vec<String>, TestError> + Sync,
) -> Result<Vec<String>, TestError> {
    let waiting = Mutex::new(batches.into_iter());
    let next = || {
        waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next()
    };
    let lane = || {
        let mut failed = Vec::new();
        while let Some(batch) = next() {
            failed.extend(run(batch)?);
        }
        Ok(failed)
    };
    let failed = thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes()).map(|_| scope.spawn(lane)).collect();
        lanes
            .into_iter()
            .map(|lane| lane.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect::<Result<Vec<_>, TestError>>()
    })?;
    Ok(failed.concat())
}

/// How many batches run at a time: an emulated machine has one CPU, and keeps one busy.
fn lanes() -> usize {
    match nested::runs_stock_kernels() {
        true => 1,
        false => thread::available_parallelism().map_or(1, NonZeroUsize::get),
    }
}

/// Runs a batch and shows what it printed; runs those again that did not pass, and returns who never did.
fn run_batch(mut batch: Batch<'_>, inputs: &[(&str, OsString)]) -> Result<Vec<String>, TestError> {
    let timeouts: &[u32] = match nested::runs_stock_kernels() {
        true => &[DIRECT_TIMEOUT_S],
        false => &TIMEOUTS_S,
    };
    for (at, timeout) in timeouts.iter().enumerate() {
        println!("xtask: {batch} …");
        let begun = Instant::now();
        let mut nested = nested::command();
        nested.envs(inputs.iter().map(|(name, value)| (name, value)));
        // The tests mount, make device nodes and change owners.
        nested.args(["--root", "--memory-mib", MEMORY_MIB, "--timeout-s"]);
        nested.arg(timeout.to_string());
        nested.arg("--").args(batch.command());
        nested.current_dir(batch.folder());
        let (status, printed) = command::merged_output(&mut nested)?;
        print!("{printed}");
        println!("xtask: {batch} took {:.0} s", begun.elapsed().as_secs_f64());
        if status.success() {
            return Ok(Vec::new());
        }
        batch.forget_passed(&printed);
        print!("xtask: a machine ended with {status}; ");
        match at + 1 < timeouts.len() {
            true => println!("what did not pass runs again in a new one"),
            false => println!("that was the last try"),
        }
    }
    Ok(batch.names())
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

/// The variables that name each further kernel and its modules.
const MORE_KERNELS: [(Series, &str, &str); 2] = [
    (Series::V5_10, "VM_TEST_KERNEL_5_10", "VM_TEST_MODULES_5_10"),
    (Series::V6_12, "VM_TEST_KERNEL_6_12", "VM_TEST_MODULES_6_12"),
];

/// The environment that the tests take their inputs from.
fn inputs(targets: &[Target]) -> Result<Vec<(&'static str, OsString)>, TestError> {
    let kernel = kernel::ensure_kernel()?;
    let image = |image| images::ensure(image).map(|folder| images::reference(&folder).into());
    let mut inputs = vec![
        ("RUST_TEST_THREADS", THREADS.into()),
        ("VM_TEST_KERNEL", kernel.vmlinuz.into()),
        ("VM_TEST_MODULES", kernel.modules_dir.into()),
        ("VM_TEST_BUSYBOX_IMAGE", image(Image::Busybox)?),
        ("VM_TEST_DEBIAN_IMAGE", image(Image::Debian)?),
    ];
    for (series, image, modules) in MORE_KERNELS {
        let kernel = kernel::ensure_series(series)?;
        inputs.push((image, kernel.vmlinuz.into()));
        inputs.push((modules, kernel.modules_dir.into()));
    }
    if let Some(playground) = playground::build(targets)? {
        inputs.push(("VM_TEST_PLAYGROUND", playground.into()));
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests;
