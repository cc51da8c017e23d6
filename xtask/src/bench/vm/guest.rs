//! What the machines boot: an unpacked kernel, and initial file systems with the guest's program.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::BenchError;
use crate::cargo;
use crate::command;
use crate::file_error::file_error;
use crate::kernel::module;
use crate::nested::Archive;

const PACKAGE: &str = "vm-bench-guest";
/// The profile and target of the guest's program, as of the agent.
const PROFILE: &str = "agent";
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The guest's drivers in the order that they need each other.
const GUEST_MODULES: [&str; 10] = [
    "virtio_ring",
    "virtio",
    "virtio_mmio",
    "virtio_blk",
    "vsock",
    "vmw_vsock_virtio_transport_common",
    "vmw_vsock_virtio_transport",
    "failover",
    "net_failover",
    "virtio_net",
];
/// What QEMU's vsock needs of the machine that it runs on.
const HOST_MODULES: [&str; 5] = [
    "vsock",
    "vmw_vsock_virtio_transport_common",
    "vhost_iotlb",
    "vhost",
    "vhost_vsock",
];
/// Waits for as many seconds as its first argument says, loads the modules of its second, and becomes the rest.
pub(super) const LOAD_AND_RUN: &str =
    "sleep $1; for module in $2; do busybox insmod $module || exit; done; shift 2; exec \"$@\"";

/// What a bzImage's payload begins with if it is packed by `lz4 -l`.
const LZ4_LEGACY: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];

/// Unpacks Debian's kernel into `folder`.
///
/// # Errors
/// [`BenchError::Payload`] if it is packed in another way than Debian 12's is.
pub(super) fn vmlinux(bzimage: &Path, folder: &Path) -> Result<PathBuf, BenchError> {
    let bytes = fs::read(bzimage).map_err(file_error("read", bzimage))?;
    let payload = payload(&bytes).ok_or_else(|| BenchError::Payload {
        path: bzimage.to_owned(),
    })?;
    let packed = folder.join("vmlinux.lz4");
    fs::write(&packed, payload).map_err(file_error("write", &packed))?;
    let unpacked = folder.join("vmlinux");
    command::run(
        Command::new("lz4")
            .args(["-d", "-q"])
            .arg(&packed)
            .arg(&unpacked),
    )?;
    Ok(unpacked)
}

/// The payload of a bzImage (Linux' Documentation/arch/x86/boot.rst), without the four bytes of its size behind it.
fn payload(bytes: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| -> Option<usize> {
        let word = bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(word)).ok()
    };
    let setup_sectors = usize::from(*bytes.get(0x1f1)?);
    let start = (setup_sectors + 1) * 512 + word(0x248)?;
    let length = word(0x24c)?.checked_sub(4)?;
    let payload = bytes.get(start..start.checked_add(length)?)?;
    payload.starts_with(&LZ4_LEGACY).then_some(payload)
}

/// Builds the guest's program, which nothing is beside in its file system: statically.
///
/// # Errors
/// [`BenchError::Cargo`] if it does not build.
pub(super) fn build() -> Result<PathBuf, BenchError> {
    let target = cargo::workspace().join("target/bench-guest");
    let mut build = cargo::locked(
        "build",
        [
            "--quiet",
            "--package",
            PACKAGE,
            "--profile",
            PROFILE,
            "--target",
            TARGET,
        ],
    );
    build.arg("--target-dir").arg(&target);
    command::run(build.env("RUSTFLAGS", "-Ctarget-feature=+crt-static"))?;
    Ok(target.join(TARGET).join(PROFILE).join(PACKAGE))
}

/// An initial file system of nothing but the program.
pub(super) fn tiny_initrd(init: &Path) -> Result<Vec<u8>, BenchError> {
    Ok(with_init(init)?.finish())
}

/// The same with drivers, and with busybox to set up the network.
pub(super) fn initrd(init: &Path, modules: &Path) -> Result<Vec<u8>, BenchError> {
    let mut archive = with_init(init)?;
    for folder in ["bin", "mod", "sys"] {
        archive.folder(folder);
    }
    archive.file("bin/busybox", &read(Path::new("/bin/busybox"))?);
    for (number, name) in GUEST_MODULES.iter().enumerate() {
        if let Some(path) = module(modules, name) {
            archive.file(&format!("mod/{number:02}-{name}.ko"), &read(&path)?);
        }
    }
    Ok(archive.finish())
}

/// The paths of the modules that the machine itself needs.
pub(super) fn host_modules(modules: &Path) -> Result<Vec<String>, BenchError> {
    let found = HOST_MODULES.iter().map(|name| {
        let path = module(modules, name);
        let path = path.as_deref().map(Path::as_os_str).and_then(OsStr::to_str);
        path.map(str::to_owned).ok_or(BenchError::NoModule { name })
    });
    found.collect()
}

fn with_init(init: &Path) -> Result<Archive, BenchError> {
    let mut archive = Archive::default();
    archive.folder("dev");
    archive.file("init", &read(init)?);
    Ok(archive)
}

fn read(path: &Path) -> Result<Vec<u8>, BenchError> {
    Ok(fs::read(path).map_err(file_error("read", path))?)
}

#[cfg(test)]
mod tests;
