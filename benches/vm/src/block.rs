//! A disk in a file, in the host's memory.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::Outcome;
use crate::compare::{Args, Figures};
use crate::process::Machine;
use crate::spec::{Spec, Vmm};

const DISK_BYTES: usize = 64 << 20;

/// Bytes a second in order, and requests a second at random places.
pub(crate) fn measure(args: &Args, vmm: Vmm) -> Outcome<Figures> {
    let folder = MemoryFolder::mount()?;
    let path = folder.path().join("disk");
    // Full of bytes, so that reads are no reads of holes.
    std::fs::write(&path, vec![0xa5; DISK_BYTES])?;
    let spec = Spec {
        disk: Some(path),
        ..Spec::new(&args.kernel, &args.initrd, "block")
    };
    let (_, results) = Machine::start(spec.command(vmm)?)?.end()?;
    Ok(results.into_iter().collect())
}

/// A file system in memory, which waits for no device: where a clock counts instructions, a device's time is none.
struct MemoryFolder(TempDir);

impl MemoryFolder {
    fn mount() -> Outcome<Self> {
        let folder = Self(tempfile::tempdir()?);
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "none"]).arg(folder.path());
        match mount.status()?.success() {
            true => Ok(folder),
            false => Err("could not mount a file system in memory".into()),
        }
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

impl Drop for MemoryFolder {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("vm-benches: could not unmount {}", self.path().display());
        }
    }
}
