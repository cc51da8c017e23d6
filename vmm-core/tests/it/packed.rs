//! Kernels that are packed: the host unpacks them, so that there is an entry point by the PVH protocol.

use std::fs::File;
use std::process::Command;
use std::time::Duration;

use vmm_core::{BootProtocol, Exit, Vm};

use super::guest::{LOAD_ADDRESS, Screen, config, elf, file, out, print, spin};
use super::lifecycle::TURN;

const SOON: Duration = Duration::from_secs(20);

/// A kernel of instructions that mean the same in 32-bit mode, with the note that names their place.
fn pvh_kernel() -> Vec<u8> {
    let mut kernel = elf(&[print("unpacked"), out(0x600, 5 << 2 | 1 << 5), spin()]);
    let mut put = |at: usize, bytes: &[u8]| kernel[at..at + bytes.len()].copy_from_slice(bytes);
    let entry = u32::try_from(LOAD_ADDRESS).unwrap();
    put(56, &2u16.to_le_bytes());
    put(120, &4u32.to_le_bytes());
    put(128, &0x800u64.to_le_bytes());
    put(152, &20u64.to_le_bytes());
    put(0x800, &[4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0]);
    put(0x80c, b"Xen\0");
    put(0x810, &entry.to_le_bytes());
    kernel
}

/// A bzImage around `payload`, of which nothing else would run.
fn bzimage(payload: &[u8]) -> Vec<u8> {
    let start = 2 * 512;
    let length = (0x400 + payload.len()).next_multiple_of(16);
    let mut image = vec![0; start + length];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[1]);
    put(0x1f4, &u32::try_from(length / 16).unwrap().to_le_bytes());
    put(0x202, b"HdrS\x0f\x02");
    put(0x236, &[1]);
    put(0x248, &0x400u32.to_le_bytes());
    put(0x24c, &u32::try_from(payload.len()).unwrap().to_le_bytes());
    put(0x258, &LOAD_ADDRESS.to_le_bytes());
    put(0x260, &(4u32 << 20).to_le_bytes());
    put(start + 0x400, payload);
    image
}

/// Packs `kernel` as its build would, with or without its size behind it.
fn packed(kernel: &[u8], program: &str, args: &[&str], size: &[u8]) -> Vec<u8> {
    let (_dir, path) = file(kernel);
    let mut command = Command::new(program);
    command.args(args).stdin(File::open(path).unwrap());
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("install {program}: {error}"));
    assert!(output.status.success());
    [&output.stdout, size].concat()
}

#[test]
fn a_kernel_that_gzip_or_xz_packed_starts_by_the_pvh_protocol() {
    let kernel = pvh_kernel();
    let size = u32::try_from(kernel.len()).unwrap().to_le_bytes();
    let xz = ["--check=crc32", "--x86", "--lzma2=dict=32MiB"];
    for payload in [
        packed(&kernel, "gzip", &["-n", "-f", "-9"], &[]),
        packed(&kernel, "xz", &xz, &size),
    ] {
        let (_dir, path) = file(&bzimage(&payload));
        let screen = Screen::default();
        let mut config = config(path, &screen);
        config.boot_protocol = BootProtocol::Pvh;
        let _turn = TURN.lock();
        let vm = Vm::start(config).unwrap();
        let exit = vm.wait_timeout(SOON);
        assert!(matches!(exit, Some(Exit::PowerOff)), "{exit:?}");
        assert_eq!(screen.text(), "unpacked");
    }
}
