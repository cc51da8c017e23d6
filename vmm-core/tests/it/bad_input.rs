//! Mistakes of the embedder's user, and the errors that explain them.

use std::error::Error;
use std::path::Path;

use vmm_core::{BootProtocol, KernelError, StartError, Vm, VmConfig};

use super::guest::{Screen, config, elf, file, spin};
use super::lifecycle::TURN;

fn start(path: &Path, change: impl FnOnce(&mut VmConfig)) -> StartError {
    let mut config = config(path.to_owned(), &Screen::default());
    change(&mut config);
    let _turn = TURN.lock();
    Vm::start(config).expect_err("the VM must not start")
}

fn kernel_error(bytes: &[u8]) -> String {
    let (_dir, path) = file(bytes);
    let error = start(&path, |_| {});
    assert!(error.to_string().contains(path.to_str().unwrap()));
    error
        .source()
        .expect("the reason is the source")
        .to_string()
}

#[test]
fn a_missing_kernel_is_named() {
    let error = start(Path::new("/no/such/kernel"), |_| {});
    assert!(matches!(error, StartError::ReadKernel { .. }));
    assert!(error.to_string().contains("/no/such/kernel"));
}

#[test]
fn a_file_that_is_no_kernel_is_refused() {
    assert!(kernel_error(b"#!/bin/sh\n").contains("not a kernel"));
    assert!(kernel_error(b"").contains("not a kernel"));
    let program = std::fs::read("/proc/self/exe").unwrap();
    assert!(kernel_error(&program).contains("not a kernel"));
}

#[test]
fn what_is_not_even_a_file_is_refused_without_reading_it() {
    for path in ["/dev/zero", "/proc/self"] {
        let error = start(Path::new(path), |_| {});
        assert!(error.to_string().contains(path));
        let reason = error.source().expect("the reason is the source");
        assert!(reason.to_string().contains("not a regular file"));
    }
}

#[test]
fn a_truncated_kernel_is_refused() {
    let kernel = elf(&[spin(), vec![0x90; 5000]]);
    for length in [10, 70, 0x1000, kernel.len() - 1] {
        assert!(kernel_error(&kernel[..length]).contains("truncated"));
    }
}

#[test]
fn what_does_not_fit_in_memory_is_refused() {
    let (_dir, path) = file(&elf(&[spin(), vec![0; 15 << 20]]));
    let error = start(&path, |config| config.memory_mib = 16);
    let StartError::Kernel { source, .. } = error else {
        panic!("{error}");
    };
    assert!(matches!(source, KernelError::DoesNotFit { .. }));

    let (_dir, path) = file(&elf(&[spin()]));
    let error = start(&path, |config| config.initrd = Some(vec![0; 63 << 20]));
    assert!(matches!(error, StartError::InitrdTooLarge { .. }));
}

#[test]
fn a_protocol_that_the_kernel_does_not_speak_is_refused() {
    let (_dir, path) = file(&elf(&[spin()]));
    let error = start(&path, |config| config.boot_protocol = BootProtocol::Pvh);
    let StartError::Kernel { source, .. } = error else {
        panic!("{error}");
    };
    assert!(matches!(source, KernelError::NoPvhEntry));
    assert!(source.to_string().contains("CONFIG_PVH"));
}

#[test]
fn memory_that_the_host_cannot_give_is_refused() {
    let (_dir, path) = file(&elf(&[spin()]));
    // More than KVM takes in one piece; some processors' addresses don't reach that far.
    let mib: u32 = 16 << 20;
    let error = start(&path, |config| config.memory_mib = mib);
    let is_of_memory = matches!(
        error,
        StartError::MapMemory { .. } | StartError::MemoryOutOfReach { .. }
    );
    assert!(is_of_memory, "{error}");
    assert!(error.to_string().contains(&mib.to_string()));
}

#[test]
fn machines_that_cannot_be_are_refused() {
    let (_dir, path) = file(&elf(&[spin()]));
    let error = start(&path, |config| config.vcpus = 0);
    assert!(error.to_string().contains("1 to 32"));
    let error = start(&path, |config| config.memory_mib = 1);
    assert!(error.to_string().contains("at least 16 MiB"));
    let error = start(&path, |config| config.command_line = "x".repeat(4096));
    assert!(error.to_string().contains("2047"));
}
