//! What is left when the host runs out of descriptors in the middle of a start.

use std::process::Command;

use vmm_core::{KernelError, Net, StartError, Switch, Vm};

use super::disk::MemoryDisk;
use super::guest::{Screen, config, elf, file, spin};
use super::lifecycle::{TURN, assert_left, possessions};

/// Names the role of a process that another test starts.
const ROLE: &str = "VMM_TEST_FEW_DESCRIPTORS";
const STARTED: i32 = 0;
const REFUSED: i32 = 3;

#[test]
fn a_start_that_fails_for_want_of_descriptors_leaves_nothing() {
    let _turn = TURN.lock();
    let run = |limit: u32| {
        let test = std::env::current_exe().unwrap();
        let script = format!("ulimit -n {limit} && exec \"$0\" --exact limits::few_descriptors");
        let output = Command::new("sh")
            .args(["-c", &script])
            .arg(test)
            .env(ROLE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.code() {
            Some(code @ (STARTED | REFUSED)) => code,
            other => panic!("with {limit} descriptors: {other:?}\n{said}"),
        }
    };
    let codes: Vec<i32> = (10..64).map(run).collect();
    // However far it gets: refused, refused, …, started, started.
    assert!(codes.is_sorted_by(|a, b| a >= b), "{codes:?}");
    assert_eq!(
        (codes.first(), codes.last()),
        (Some(&REFUSED), Some(&STARTED))
    );
}

/// The other process's part.
#[test]
fn few_descriptors() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let (_dir, path) = file(&elf(&[spin()]));
    let mut config = config(path, &Screen::default());
    config.vcpus = 2;
    config.vsock_cid = Some(3);
    config.drives = vec![MemoryDisk::drive()];
    let before = possessions();
    config.nets = vec![Net::new(
        Switch::new()
            .port()
            .expect("the first descriptors are there"),
    )];
    let result = Vm::start(config).map(drop);
    assert_left(before);
    if let Err(error) = result {
        let is_expected = match &error {
            StartError::Host { .. } | StartError::Kvm { .. } => true,
            // The kernel's file takes a descriptor, too, and its pages another.
            StartError::ReadKernel { source, .. } => source.raw_os_error() == Some(libc::EMFILE),
            StartError::Kernel { source, .. } => matches!(source, KernelError::Pages { .. }),
            _ => false,
        };
        assert!(is_expected, "{error}");
        std::process::exit(REFUSED);
    }
}
