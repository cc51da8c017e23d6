//! The small root file system that a guest starts from: the agent and the kernel modules that it needs.
//!
//! Invariant: the list of modules that the agent loads is in dependency order and complete.

mod cpio;
mod modules;

use crate::error::Error;
use crate::kernel::Kernel;
use cpio::Archive;

/// The guest agent, a static binary that `build.rs` made.
const AGENT: &[u8] = include_bytes!(env!("SESSION_AGENT"));

/// Where the agent finds the names of the modules, in load order.
const MODULE_LIST: &str = "modules.list";

/// What a session needs from the kernel, as modules or built in.
const NEEDED_MODULES: [&str; 4] = [
    "virtio_mmio",
    "virtio_blk",
    "vmw_vsock_virtio_transport",
    "ext4",
];

/// What a session takes if the kernel has it: entropy, and the checksums of ext4 where they are a module of their
/// own, which ext4 asks for by a name that no dependency tells.
const WELCOME_MODULES: [&str; 2] = ["virtio_rng", "crc32c_generic"];

/// What a session with networks needs besides.
const NETWORK_MODULE: &str = "virtio_net";

/// Builds the initramfs for `kernel`.
///
/// # Errors
/// [`ErrorKind::Kernel`](crate::ErrorKind::Kernel) if a module that the session needs is missing or unreadable.
pub(crate) fn build(kernel: &Kernel, has_network: bool) -> Result<Vec<u8>, Error> {
    let mut needed = NEEDED_MODULES.to_vec();
    if has_network {
        needed.push(NETWORK_MODULE);
    }
    let modules = match kernel.modules() {
        Some(folder) => modules::in_load_order(folder, &needed, &WELCOME_MODULES)?,
        None => Vec::new(),
    };
    Ok(pack(&modules))
}

fn pack(modules: &[modules::Module]) -> Vec<u8> {
    let mut archive = Archive::default();
    for folder in ["dev", "proc", "sys", "run", "newroot", "modules"] {
        archive.directory(folder);
    }
    // The kernel opens the console for the first process before anything is mounted on /dev.
    archive.character_device("dev/console", 0o600, 5, 1);
    archive.character_device("dev/null", 0o666, 1, 3);
    archive.file("init", 0o755, AGENT);
    let mut list = String::new();
    for module in modules {
        let path = format!("modules/{}.ko", module.name);
        archive.file(&path, 0o644, &module.content);
        list.push_str(&format!("/{path}\n"));
    }
    archive.file(MODULE_LIST, 0o644, list.as_bytes());
    archive.finish()
}

#[cfg(test)]
mod tests;
