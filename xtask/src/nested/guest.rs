//! What runs inside the machine: the first file system with its init, and the script that becomes the command.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::NestedError;
use super::cpio::Archive;
use crate::file_error::file_error;
use crate::kernel::{self, KernelPaths};

/// Where the machine's own disk is mounted, and what `TMPDIR` says.
pub(super) const SCRATCH: &str = "/scratch";

/// Modules in the order that they need each other. What a kernel has built in is passed over.
const MODULES: [&str; 22] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_console",
    "virtio_blk",
    "fuse",
    "virtiofs",
    "overlay",
    "irqbypass",
    "ccp",
    "kvm",
    "kvm-amd",
    "tun",
    "llc",
    "stp",
    "bridge",
    "veth",
    "dummy",
    "loop",
    "rng-core",
];

/// The static busybox that Debian's package installs.
const BUSYBOX: &str = "/bin/busybox";

/// The part of init that does not depend on the caller. The ports are those of `machine`.
const INIT: &str = include_str!("guest/init.sh");

/// Makes the first file system of a machine that mounts `writable` and runs `script`.
pub(super) fn initramfs(
    kernel: &KernelPaths,
    writable: &[PathBuf],
    script: &[u8],
) -> Result<Vec<u8>, NestedError> {
    let read = |path: &Path| fs::read(path).map_err(file_error("read", path));
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc", "sys", "host", "top", "new", "mod"] {
        archive.folder(folder);
    }
    archive.file("bin/busybox", &read(Path::new(BUSYBOX))?);
    for (number, module) in MODULES.into_iter().enumerate() {
        if let Some(path) = kernel::module(&kernel.modules_dir, module) {
            archive.file(&format!("mod/{number:02}.ko"), &read(&path)?);
        }
    }
    archive.file("job", script);
    archive.file("mounts", &mounts(writable));
    archive.file("init", INIT.as_bytes());
    Ok(archive.finish())
}

/// The script that mounts each writable folder over its own path.
fn mounts(writable: &[PathBuf]) -> Vec<u8> {
    let mut script = Vec::new();
    for (number, folder) in writable.iter().enumerate() {
        let place = [b"/new", folder.as_os_str().as_bytes()].concat();
        let place = quoted(OsStr::from_bytes(&place));
        script.extend(b"mkdir -p ");
        script.extend(&place);
        script.extend(format!(" && mount -t virtiofs rw{number} ").as_bytes());
        script.extend(&place);
        script.extend(b" || die \"mount the writable folder ");
        script.extend(format!("{number}\"\n").as_bytes());
    }
    script
}

/// The script that becomes `command`, in the caller's folder and with the caller's environment.
pub(super) fn script<'a>(
    environment: impl Iterator<Item = (&'a OsStr, &'a OsStr)>,
    folder: &Path,
    command: &[impl AsRef<OsStr>],
) -> Vec<u8> {
    let mut script = b"#!/bin/sh\n".to_vec();
    for (name, value) in environment.filter(|(name, _)| is_identifier(name)) {
        script.extend(b"export ");
        script.extend(name.as_bytes());
        script.extend(b"=");
        script.extend(quoted(value));
        script.extend(b"\n");
    }
    script.extend(format!("export TMPDIR={SCRATCH}\ncd ").as_bytes());
    script.extend(quoted(folder.as_os_str()));
    script.extend(b" || exit 126\nexec");
    for word in command {
        script.extend(b" ");
        script.extend(quoted(word.as_ref()));
    }
    script.extend(b"\n");
    script
}

/// A word that the shell takes as it is.
fn quoted(word: &OsStr) -> Vec<u8> {
    let mut text = vec![b'\''];
    for &byte in word.as_bytes() {
        match byte {
            b'\'' => text.extend(b"'\\''"),
            other => text.push(other),
        }
    }
    text.push(b'\'');
    text
}

fn is_identifier(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    bytes.first().is_some_and(|byte| !byte.is_ascii_digit())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

#[cfg(test)]
mod tests;
