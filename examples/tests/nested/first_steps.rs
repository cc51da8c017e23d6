//! The examples that a newcomer runs first.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::playground::{Bed, env};

/// Runs an example on a new store that has a kernel; returns what it prints.
fn run(program: &str, args: &[&str]) -> String {
    let bed = Bed::empty();
    let store = bed.path("store");
    std::fs::create_dir(&store).unwrap();
    // The package that the kernel is from, unpacked: `boot` and `lib`.
    let kernel = env("VM_TEST_KERNEL");
    let package = Path::new(&kernel).ancestors().nth(2).unwrap();
    symlink(package, store.join("kernel")).unwrap();
    let mut command = Command::new(program);
    command.arg(&store).arg(env("VM_TEST_BUSYBOX_IMAGE"));
    let output = command.args(args).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_ten_lines_of_the_front_page_keep_a_note() {
    let said = run(env!("CARGO_BIN_EXE_hello"), &[]);
    let lines: Vec<_> = said.lines().collect();
    let [written, safe, note] = lines[..] else {
        panic!("{said}")
    };
    assert_eq!(written, "written: status 0");
    assert!(safe.starts_with("the disk is safe: sha256:"), "{safe}");
    assert_eq!(note, "it says: hi");
}

#[test]
fn plain_threads_run_a_session_each() {
    let said = run(env!("CARGO_BIN_EXE_threads"), &["2"]);
    assert_eq!(said, "hello from lab-1\nhello from lab-2\n");
}
